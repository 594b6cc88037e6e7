//! The clock of the stamps, quantiles of latencies, and a process's CPU time and memory.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds since the first call, never 0.
pub fn now_ns() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

/// CPU time in seconds of all threads of a process; None where there is none.
pub fn cpu_s(pid: Option<u32>) -> Option<f64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid?)).ok()?;
    let mut total_ns = 0.0;
    for task in tasks.flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        total_ns += text.split(' ').next()?.parse::<f64>().ok()?;
    }
    Some(total_ns * 1e-9)
}

/// Resident memory of a process in KiB.
pub fn rss_kib(pid: Option<u32>) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", pid?)).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Latencies, in steps of 1/64 of their size.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

const STEP_BITS: u32 = 6;

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; 64 << STEP_BITS], total: 0, max_ns: 0 }
    }

    pub fn add(&mut self, ns: u64) {
        self.counts[Self::place(ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    fn place(ns: u64) -> usize {
        let size = 63 - (ns | 1).leading_zeros();
        let shift = size.saturating_sub(STEP_BITS);
        (((size - size.min(STEP_BITS)) << STEP_BITS) as usize) + (ns >> shift) as usize
    }

    fn middle_ns(place: usize) -> f64 {
        let steps = 1usize << STEP_BITS;
        if place < 2 * steps {
            return place as f64;
        }
        let shift = place / steps - 1;
        ((place - (shift << STEP_BITS)) as f64 + 0.5) * (1u64 << shift) as f64
    }

    fn quantile_us(&self, part: f64) -> f64 {
        let wanted = (part * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return Self::middle_ns(place) * 1e-3;
            }
        }
        0.0
    }

    /// As JSON, in microseconds.
    pub fn json(&self) -> String {
        format!(
            "{{\"samples\": {}, \"p50\": {:.1}, \"p90\": {:.1}, \"p99\": {:.1}, \"max\": {:.1}}}",
            self.total,
            self.quantile_us(0.5),
            self.quantile_us(0.9),
            self.quantile_us(0.99),
            self.max_ns as f64 * 1e-3
        )
    }
}

/// A number, or null.
pub fn json_of(value: Option<f64>) -> String {
    value.map_or("null".to_string(), |value| format!("{value:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_stands_for_what_is_in_it() {
        for ns in [1u64, 63, 64, 127, 128, 1000, 123_456, 7_000_000_000] {
            let middle = Histogram::middle_ns(Histogram::place(ns));
            assert!((middle - ns as f64).abs() <= ns as f64 / 64.0, "{ns} {middle}");
        }
    }
}
