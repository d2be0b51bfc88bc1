//! What a server says of its memory with `INFO`.

use std::sync::Mutex;
use std::sync::PoisonError;

use code_assist_core::StoreStats;

/// The last answer of the server. A login without the right to ask leaves it empty.
#[derive(Debug, Default)]
pub(super) struct ServerStats {
    last: Mutex<StoreStats>,
}

impl ServerStats {
    pub(super) fn get(&self) -> StoreStats {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the server's answer. Returns true when the server has evicted entries since the last one.
    pub(super) fn update(&self, info: &str) -> bool {
        let number = |name: &str| -> Option<u64> {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().parse().ok()
        };
        let new = StoreStats {
            evicted_keys: number("evicted_keys"),
            memory_used: number("used_memory"),
            memory_limit: number("maxmemory").filter(|limit| *limit > 0),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *last, new).evicted_keys;
        matches!((before, new.evicted_keys), (Some(before), Some(now)) if now > before)
    }

    /// How many bytes answers may take: as many as is configured, but no more than a quarter of the
    /// server's memory, so that they never displace other entries.
    pub(super) fn answer_budget(&self, configured: u64) -> u64 {
        let limit = self.get().memory_limit;
        limit.map_or(configured, |limit| configured.min(limit / 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_of_the_evicted_keys_is_told_and_a_restart_is_no_growth() {
        let stats = ServerStats::default();
        let info = |evicted: u32, limit: u32| {
            format!(
                "# Memory\r\nused_memory:7\r\nused_memory_rss:9\r\nmaxmemory:{limit}\r\nevicted_keys:{evicted}\r\n"
            )
        };
        assert!(!stats.update(&info(5, 0)), "what was before this process began");
        assert_eq!(stats.get().memory_limit, None);
        assert_eq!(stats.answer_budget(1000), 1000);
        assert!(!stats.update(&info(5, 400)));
        assert!(stats.update(&info(6, 400)));
        assert!(!stats.update(&info(0, 400)));
        let expected =
            StoreStats { evicted_keys: Some(0), memory_used: Some(7), memory_limit: Some(400) };
        assert_eq!(stats.get(), expected);
        assert_eq!((stats.answer_budget(1000), stats.answer_budget(50)), (100, 50));
        assert!(!stats.update("nonsense"));
    }
}
