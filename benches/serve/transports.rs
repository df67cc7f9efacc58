//! What TLS adds to a call, and what a second processor adds to a server.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::load::{Load, Questions};
use crate::measure::{Figures, Options, head, median, row};
use crate::process::{self, Extra, Process, Which};

/// Compares the CPU time of a call over TLS with one without. Both servers run at once, and the client asks them in
/// turns. The connections exist before and are kept.
pub fn tls(questions: &Questions, options: &Options, figures: &mut Figures) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let plain = Process::start(Which::Iamd, questions, 1)?;
    let encrypted = Process::with(questions, &with_tls(folder.path())?)?;
    let effort = options.pick((20, 8_000), (2, 256));
    head(
        "CPU time of the server for each decision with TLS 1.3, in microseconds",
        &["load", "plaintext", "TLS", "ratio"],
    );
    for load in [
        Load::unary(1, 64),
        Load::unary(1, 8),
        Load::unary(1, 1),
        Load::batch(50),
    ] {
        let [without, with, ratio] =
            process::compare([&plain, &encrypted], questions, load, effort)?;
        row(&[
            load.to_string(),
            format!("{without:.2}"),
            format!("{with:.2}"),
            format!("{ratio:.2}"),
        ]);
        if load == Load::unary(1, 64) {
            figures.at_most("7", format!("TLS, {load}"), ratio, 1.3);
        }
    }
    Ok(())
}

/// Compares a server that has two threads with one that has one. What it can do is its processors divided by the CPU
/// time of a decision. The decisions of a second are less than that, because the client needs a processor, too.
pub fn cores(
    questions: &Questions,
    options: &Options,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let servers = [
        Process::start(Which::Iamd, questions, 1)?,
        Process::start(Which::Iamd, questions, 2)?,
    ];
    let (n_rounds, n_calls) = options.pick((20, 20_000), (2, 800));
    head(
        "A server with one thread and with two. The ratio is what two do in the CPU time in which one does 1",
        &[
            "load",
            "CPU with one, µs",
            "with two",
            "ratio",
            "decisions a second with one",
            "with two",
            "ratio",
        ],
    );
    for load in [
        Load::unary(4, 16),
        Load::Batch {
            n_connections: 4,
            size: 50,
        },
    ] {
        // For each server, the CPU time of a decision in microseconds, and the decisions of a second.
        let mut found = [const { (Vec::new(), Vec::new()) }; 2];
        for round in 0..=n_rounds {
            for (server, (costs, rates)) in servers.iter().zip(&mut found) {
                let begun = Instant::now();
                let cost = server.cost(questions, load, n_calls)?;
                if round > 0 {
                    costs.push(cost);
                    rates.push(n_calls as f64 / begun.elapsed().as_secs_f64());
                }
            }
        }
        let [(one, rate_of_one), (two, rate_of_two)] = found;
        let of_rounds = |these: &[f64], those: &[f64]| -> f64 {
            median(these.iter().zip(those).map(|(a, b)| a / b).collect())
        };
        let capacity = 2.0 * of_rounds(&one, &two);
        let rate = of_rounds(&rate_of_two, &rate_of_one);
        row(&[
            load.to_string(),
            format!("{:.2}", median(one)),
            format!("{:.2}", median(two)),
            format!("{capacity:.2}"),
            format!("{:.0}", median(rate_of_one)),
            format!("{:.0}", median(rate_of_two)),
            format!("{rate:.2}"),
        ]);
        figures.at_least("6", format!("two threads, {load}"), capacity, 1.8);
    }
    Ok(())
}

/// Makes a certificate in `folder`. Returns what a server needs to show it, and how a client trusts it.
fn with_tls(folder: &Path) -> anyhow::Result<Extra> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Extra {
        arguments: vec![
            "--tls-certificate".to_owned(),
            certificate.display().to_string(),
            "--tls-key".to_owned(),
            key.display().to_string(),
        ],
        tls: Some(TlsConnector::from(Arc::new(config))),
        ..Extra::default()
    })
}
