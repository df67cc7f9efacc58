//! The parsers of settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::address::Address;
use super::fixed::{MAX_MAX_CONNECTIONS, MAX_WORKER_THREADS};

/// Reads `true` or `false`.
pub(super) fn switch(text: &str) -> anyhow::Result<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => bail!("must be `true` or `false`"),
    }
}

/// Returns the keys to hide. The single word `none` stands for no key.
pub fn redact_keys(keys: Vec<String>) -> Vec<String> {
    match keys.as_slice() {
        [none] if none == "none" => Vec::new(),
        _ => keys,
    }
}

/// Reads a whole number of at least 1.
pub(super) fn count(text: &str) -> anyhow::Result<usize> {
    match text.parse() {
        Ok(0) | Err(_) => bail!("must be a whole number of at least 1"),
        Ok(number) => Ok(number),
    }
}

/// Reads the mode of a file: `0660`.
pub(super) fn mode(text: &str) -> anyhow::Result<u32> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= 0o777 => Ok(mode),
        _ => bail!("must be an octal mode of three digits, such as `0660`"),
    }
}

/// Reads a count that is no larger than `most`.
pub(super) fn at_most(most: usize, text: &str) -> anyhow::Result<usize> {
    match count(text)? {
        number if number > most => bail!("must be at most {most}"),
        number => Ok(number),
    }
}

/// Reads a level or a filter. A single word that is not a level is refused: as a filter it would log nothing.
pub(super) fn log_filter(text: &str) -> anyhow::Result<String> {
    let is_level = ["error", "warn", "info", "debug", "trace"].contains(&text);
    if !is_level && !text.contains(['=', ',']) {
        bail!(
            "must be error, warn, info, debug or trace, or a filter such as `info,iamd::store=debug`"
        );
    }
    Ok(text.to_owned())
}

/// Reads a duration: `500ms`, `5s`, `2m`, `1h`.
pub fn duration(text: &str) -> anyhow::Result<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => bail!("must be a number with one of the units ms, s, m and h, such as `5s`"),
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis_per_unit));
    millis.map(Duration::from_millis).context("is too large")
}

/// Reads the deadline of calls whose clients set none, which is a duration.
pub(super) fn deadline(text: &str) -> anyhow::Result<Duration> {
    let read = duration(text)?;
    if read.is_zero() {
        bail!("must be at least `1ms`: with none, every call would be too late");
    }
    Ok(read)
}

/// Reads the number of a group, or `none`.
pub(super) fn optional_group(text: &str) -> anyhow::Result<Option<u32>> {
    if text == "none" {
        return Ok(None);
    }
    match text.parse() {
        // The system keeps this one for "no change".
        Ok(u32::MAX) | Err(_) => bail!("must be the number of a group, such as `65532`, or `none`"),
        Ok(group) => Ok(Some(group)),
    }
}

/// Reads a size in bytes: `65536`, `64KiB`, `4MiB`.
pub(super) fn size(text: &str) -> anyhow::Result<usize> {
    let (number, unit) = if let Some(number) = text.strip_suffix("KiB") {
        (number, 1024)
    } else if let Some(number) = text.strip_suffix("MiB") {
        (number, 1024 * 1024)
    } else {
        (text, 1)
    };
    let bytes = number
        .trim_end()
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    match bytes {
        Some(bytes) if bytes > 0 => Ok(bytes),
        Some(_) => bail!("must be at least 1 byte"),
        None => bail!("must be a number of bytes, or one with the unit KiB or MiB"),
    }
}

/// Reads the path of a directory or file.
pub(super) fn path(text: &str) -> anyhow::Result<PathBuf> {
    Ok(PathBuf::from(text))
}

/// Reads the path of a file that need not be given; `None` for `none`.
pub(super) fn optional_path(text: &str) -> anyhow::Result<Option<PathBuf>> {
    match text {
        "" => bail!("must be the path of a file, or `none`"),
        "none" => Ok(None),
        _ => path(text).map(Some),
    }
}

/// Reads a TCP address that need not be given; `None` for `none`.
pub(super) fn optional_address(text: &str) -> anyhow::Result<Option<SocketAddr>> {
    if text == "none" {
        return Ok(None);
    }
    match text.parse()? {
        Address::Unix(_) => bail!("must be IP:PORT, which a kubelet can reach, or `none`"),
        Address::Tcp(address) => Ok(Some(address)),
    }
}

/// Reads the address of the HTTP listener; `None` for `none`.
pub(super) fn http_address(text: &str) -> anyhow::Result<Option<SocketAddr>> {
    match text.parse() {
        _ if text == "none" => Ok(None),
        Ok(Address::Tcp(address)) => Ok(Some(address)),
        _ => bail!("must be IP:PORT, such as `127.0.0.1:9464`, or `none`"),
    }
}

/// Reads any text.
pub(super) fn text(text: &str) -> anyhow::Result<String> {
    Ok(text.to_owned())
}

/// Reads the number of threads; `None` for `auto`.
pub(super) fn threads(text: &str) -> anyhow::Result<Option<usize>> {
    match text {
        "auto" => Ok(None),
        _ => at_most(MAX_WORKER_THREADS, text).map(Some),
    }
}

/// Reads how many calls one connection may have in flight.
pub(super) fn streams(text: &str) -> anyhow::Result<u32> {
    u32::try_from(count(text)?).context("is too large")
}

/// Reads how many connections may be open.
pub(super) fn connections(text: &str) -> anyhow::Result<usize> {
    at_most(MAX_MAX_CONNECTIONS, text)
}
