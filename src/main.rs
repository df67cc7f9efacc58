//! The `iamd` program.

/// The system's allocator holds a lock while a thread gives back memory that came from another. A thread of low priority that is
/// interrupted meanwhile would keep those that answer `Authorize` waiting for many milliseconds. This one has no such lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    iamd::cli::main()
}
