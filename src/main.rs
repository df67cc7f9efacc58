//! The `iamd` program.

fn main() -> std::process::ExitCode {
    iamd::cli::main()
}
