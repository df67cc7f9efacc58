//! `iamd healthcheck`.

use std::io::Write;

use super::tls::Tls;
use super::{Common, Output, Status, report};
use crate::config::DEFAULT_SERVER;
use crate::service::client::Client;

/// Ask a running server whether it is serving: exits with 0 if it is, otherwise with 1
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The server: `127.0.0.1:50051`, `unix:/path`, `https://host:50051`
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_SERVER)]
    server: String,
    #[command(flatten)]
    tls: Tls,
    /// The gRPC service to ask about; empty means the server as a whole
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    service: String,
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    let asked = args.tls.read().and_then(|pem| {
        let client = Client::connect(&args.server, pem.as_ref())?;
        client.is_serving(&args.service)
    });
    let is_serving = asked.unwrap_or_else(|error| {
        report(format_args!("error: {error:#}"));
        false
    });
    match common.output {
        Output::Text => writeln!(
            out,
            "{}",
            if is_serving { "serving" } else { "not serving" }
        )?,
        Output::Json => writeln!(out, r#"{{"serving":{is_serving}}}"#)?,
    }
    Ok(if is_serving { Status::Fine } else { Status::No })
}
