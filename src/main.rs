//! The `iamd` program.

/// The system's allocator holds a lock while a thread gives back memory that came from another. A thread of low priority that is
/// interrupted meanwhile would keep those that answer `Authorize` waiting for many milliseconds. This one has no such lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    give_back_memory_early();
    iamd::cli::main()
}

/// Lets the allocator give memory that it does not use back to the system after 100 ms. It would keep it for a second, and a
/// second of messages that are megabytes long once they are decoded is a lot. After 10 ms, most of it would be in use again: then
/// a decision of a batch takes a fourth more time.
#[expect(
    unsafe_code,
    reason = "the allocator offers this to C alone; it stores one number, which threads may read meanwhile"
)]
fn give_back_memory_early() {
    /// The place of `mi_option_purge_delay`, in milliseconds, in the allocator's list of options, which only grows at its end.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 100) }
}
