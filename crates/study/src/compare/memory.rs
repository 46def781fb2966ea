//! Peak memory of this process, where the system tells.

/// Starts a new peak, so that [`peak_bytes`] tells what was needed since. Without effect where the system has no such thing.
pub fn start_peak() {
    // Linux: "5" resets the peak resident set size (proc_pid_clear_refs(5)). Elsewhere the file does not exist, and a
    // refusal leaves the old peak, which is an upper bound.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The largest resident set size since the last [`start_peak`], in bytes; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_follows_what_is_used() {
        start_peak();
        let before = peak_bytes().unwrap();
        let block = vec![1u8; 64 << 20];
        let with = peak_bytes().unwrap();
        assert_eq!(block.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 64 << 20);
        assert!(with >= before + (60 << 20), "{before} to {with}");
        drop(block);
    }
}
