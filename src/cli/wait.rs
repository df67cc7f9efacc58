//! `iamd wait`.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::tls::Tls;
use super::{Common, Output, Status, load, report};
use crate::config::{self, CLIENT_TIMEOUT, DEFAULT_SERVER, RETRY_PAUSE};
use crate::service::client::Client;
use crate::service::status::Enforced;

/// Wait until a running server enforces a revision, such as the one that was just deployed
///
/// Give the revision, as `iamd revision` prints it, or a directory that has it, with `--store`. Exits with 0 once the
/// server enforces it, with 1 if it does not in time, and with 2 if the directory does not load. A server that is not
/// there yet is waited for, too.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The revision: 32 hexadecimal digits
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    revision: Option<String>,
    /// The server: `127.0.0.1:50051`, `unix:/path`, `https://host:50051`
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_SERVER)]
    server: String,
    #[command(flatten)]
    tls: Tls,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = config::duration)]
    timeout: Duration,
}

fn revision(text: &str) -> Result<String, &'static str> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() == 32 && text.bytes().all(is_digit) {
        Ok(text.to_owned())
    } else {
        Err("must be 32 hexadecimal digits, as `iamd revision` prints them")
    }
}

pub(super) fn run(args: &Args, common: &Common, out: &mut impl Write) -> anyhow::Result<Status> {
    let began = Instant::now();
    let of_variable = std::env::var_os("IAMD_STORE").is_some();
    let wanted = match (&args.revision, &common.store) {
        (Some(revision), None) => revision.clone(),
        (None, store) if store.is_some() || of_variable => match load(&common.store()) {
            Some(snapshot) => snapshot.revision.to_string(),
            None => return Ok(Status::Refused),
        },
        (Some(_), _) => bail!("`--revision` and `--store` exclude each other"),
        (None, _) => bail!("say what to wait for: `--revision REVISION` or `--store DIR`"),
    };
    let client = Client::lazy(&args.server, args.tls.read()?.as_ref())?;
    // Even those who do not want to wait want the answer.
    let timeout = match args.timeout {
        Duration::ZERO => CLIENT_TIMEOUT,
        timeout => timeout,
    };
    let left = || timeout.saturating_sub(began.elapsed());
    // What the server said last, or why it says nothing.
    let mut said = Err("it has not answered".to_owned());
    let mut is_in_force = false;
    loop {
        let is_enforced = |enforced: Enforced| {
            is_in_force = enforced.revision() == wanted;
            said = Ok(enforced);
            is_in_force || args.timeout.is_zero()
        };
        let watched = client.watch_revision(left(), is_enforced);
        match (watched, &said) {
            (Ok(true), Ok(enforced)) if is_in_force => {
                match common.output {
                    Output::Text => writeln!(out, "{wanted} is in force")?,
                    Output::Json => writeln!(out, "{}", enforced.to_json())?,
                }
                return Ok(Status::Fine);
            }
            (Ok(_), _) => break,
            // The server is not there yet, or has ended, and another one may take its place.
            (Err(error), _) => said = Err(format!("{error:#}")),
        }
        let pause = RETRY_PAUSE.min(left());
        if pause.is_zero() || args.timeout.is_zero() {
            break;
        }
        std::thread::sleep(pause);
    }
    tell(args, &wanted, &client, said);
    Ok(Status::No)
}

/// Says what is in force instead, and why if the server tells.
fn tell(args: &Args, wanted: &str, client: &Client, said: Result<Enforced, String>) {
    let (server, timeout) = (&args.server, args.timeout);
    let instead = match &said {
        Err(why) => format!("cannot ask `{server}`: {why}"),
        Ok(enforced) if enforced.revision().is_empty() => {
            format!("`{server}` has not loaded a store yet")
        }
        Ok(enforced) => {
            let since = enforced.since();
            let since = since.map_or(String::new(), |since| format!(" since {since}"));
            format!("`{server}` enforces {}{since}", enforced.revision())
        }
    };
    report(format_args!(
        "error: {wanted} is not in force after {timeout:?}: {instead}"
    ));
    if !said.is_ok_and(|enforced| enforced.is_stale()) {
        return;
    }
    report(format_args!("error: the server's store does not load"));
    // A server beyond this machine tells only the revision.
    if let Ok(status) = client.status() {
        for finding in status.findings() {
            report(format_args!("{finding}"));
        }
    }
}
