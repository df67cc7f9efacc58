//! Measures how soon the server answers after its start and how much memory it takes.

use crate::figures::{Samples, head, memory, row, time};
use crate::server::Server;
use crate::worlds::World;

const N_STARTS: usize = 20;

/// Prints the table.
pub fn measure(worlds: &[World]) -> anyhow::Result<()> {
    head(
        &format!("Start-up and memory ({N_STARTS} starts each)"),
        &[
            "store",
            "files",
            "start to first answer, median",
            "max",
            "RSS after start",
            "of it anonymous",
            "peak RSS",
        ],
    );
    for world in worlds {
        let mut starts = Samples::default();
        let (mut resident, mut anonymous, mut peak) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..N_STARTS {
            let server = Server::start(world.path(), world.first_question()?)?;
            starts.push(server.ready_after);
            resident.push(server.memory_kib("VmRSS")?);
            anonymous.push(server.memory_kib("RssAnon")?);
            peak.push(server.memory_kib("VmHWM")?);
        }
        row(&[
            world.name.clone(),
            world.n_files.to_string(),
            time(starts.quantile(0.5)),
            time(starts.quantile(1.0)),
            memory(median(resident)),
            memory(median(anonymous)),
            memory(median(peak)),
        ]);
    }
    Ok(())
}

fn median(mut figures: Vec<u64>) -> u64 {
    figures.sort_unstable();
    figures.get(figures.len() / 2).copied().unwrap_or(0)
}
