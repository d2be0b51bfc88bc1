//! The table of usage, and that of the batches which were carried out.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::{Charge, Cost, Day, StoreError, Timestamp, UsageBatch, UsageRow};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError};

use super::FileStore;

impl FileStore {
    /// Adds a batch in one transaction, which is on disk when this returns.
    pub(crate) async fn add_usage(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        // Reservations are nothing to a store of one process.
        if batch.rows.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let (process, number, rows) = (batch.process.0, batch.number, batch.rows.clone());
        self.run(move |opened| {
            let writing = opened.database.begin_write()?;
            {
                let mut batches = writing.open_table(BATCHES)?;
                let last = batches.get(process)?.map_or(0, |last| last.value().0);
                if number <= last {
                    // Dropping the transaction aborts it.
                    return Ok(());
                }
                batches.insert(process, (number, now.0))?;
                if batches.len()? > 1 {
                    batches.retain(|_, (_, at)| Timestamp(at) + BATCHES_KEPT > now)?;
                }
                let mut table = writing.open_table(USAGE)?;
                for row in &rows {
                    let day = row.day.to_string();
                    let name = (day.as_str(), &*row.key, &*row.model);
                    let mut sum =
                        table.get(name)?.map(|sum| Sum::read(sum.value())).unwrap_or_default();
                    sum.requests = sum.requests.saturating_add(row.requests);
                    sum.charge += row.charge;
                    table.insert(name, &sum.bytes()[..])?;
                }
            }
            Ok(writing.commit()?)
        })
        .await
    }

    pub(crate) async fn usage(
        &self,
        days: RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let key = key.map(str::to_owned);
        self.run(move |opened| {
            let mut found = Vec::new();
            let (first, last) = (days.start().to_string(), days.end().to_string());
            let table = match opened.database.begin_read()?.open_table(USAGE) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(found),
                Err(error) => return Err(error.into()),
            };
            for row in table.range((first.as_str(), "", "")..)? {
                let (name, sum) = row?;
                let (day, id, model) = name.value();
                if day > last.as_str() {
                    break;
                }
                let Ok(day) = day.parse() else { continue };
                if key.as_deref().is_none_or(|key| key == id) {
                    let Sum { requests, charge } = Sum::read(sum.value());
                    let (key, model) = (Arc::from(id), Arc::from(model));
                    found.push(UsageRow { key, model, day, requests, charge });
                }
            }
            Ok(found)
        })
        .await
    }

    /// Removes the days before this one. Nothing is written if there are none.
    pub(crate) async fn remove_usage(&self, before: Day) -> Result<(), StoreError> {
        self.remove_days(Some(before)).await.map(|_| ())
    }

    /// Removes all usage, and returns the number of rows. The batches that were carried out stay known.
    pub(crate) async fn clear_usage(&self) -> Result<usize, StoreError> {
        self.remove_days(None).await
    }

    async fn remove_days(&self, before: Option<Day>) -> Result<usize, StoreError> {
        self.run(move |opened| {
            let before = before.map(|day| day.to_string());
            let is_old = |day: &str| before.as_deref().is_none_or(|before| day < before);
            match opened.database.begin_read()?.open_table(USAGE) {
                Ok(table) => match table.first()? {
                    Some((name, _)) if is_old(name.value().0) => {}
                    _ => return Ok(0),
                },
                Err(TableError::TableDoesNotExist(_)) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
            let writing = opened.database.begin_write()?;
            let mut removed = 0;
            writing.open_table(USAGE)?.retain(|(day, ..), _| {
                let is_old = is_old(day);
                removed += usize::from(is_old);
                !is_old
            })?;
            writing.commit()?;
            Ok(removed)
        })
        .await
    }
}

/// The value of a row: six numbers in big-endian order. A later version may write more after them.
#[derive(Debug, Default)]
struct Sum {
    requests: u64,
    charge: Charge,
}

impl Sum {
    /// Numbers that are missing are zero.
    fn read(bytes: &[u8]) -> Self {
        let mut numbers = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            requests: next(),
            charge: Charge {
                prompt_tokens: next(),
                cached_tokens: next(),
                output_tokens: next(),
                thought_tokens: next(),
                cost: Cost(next()),
            },
        }
    }

    fn bytes(&self) -> [u8; 48] {
        let Self { requests, charge } = self;
        let numbers = [
            *requests,
            charge.prompt_tokens,
            charge.cached_tokens,
            charge.output_tokens,
            charge.thought_tokens,
            charge.cost.0,
        ];
        let mut bytes = [0; 48];
        for (place, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *place = number.to_be_bytes();
        }
        bytes
    }
}

/// By day, key and model. Days are text, whose order is that of time.
const USAGE: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("usage");

/// By process: the number of its last batch, and when that was carried out, in milliseconds since the epoch.
const BATCHES: TableDefinition<'_, u64, (u64, u64)> = TableDefinition::new("usage_batches");

/// How long the last batch of a process that has ended stays known. A process that lives sends its batch
/// again within seconds.
const BATCHES_KEPT: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use std::io::{self, BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Command, Stdio};

    use code_assist_core::ProcessId;
    use code_assist_testkit::contract::usage_contract;
    use tempfile::TempDir;

    use super::*;
    use crate::store::file::record::TABLE;
    use crate::store::manual_clock::ManualClock;
    use crate::store::{Backend, Clock, Store};

    #[tokio::test]
    async fn the_file_store_fulfils_the_contract_of_usage() {
        let folder = TempDir::new().unwrap();
        let store = Store::of(Backend::File(open(&folder.path().join("kv.redb"))));
        usage_contract(&store, Store::add_usage, Store::usage, Store::remove_usage).await;
    }

    #[tokio::test]
    async fn usage_outlives_the_process_cleared_entries_and_a_version_that_does_not_know_it() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kv.redb");
        let store = open(&path);
        store.add_usage(&batch(1)).await.unwrap();
        store.clear().await.unwrap();
        drop(store);
        // All that such a version does: it opens, checks and writes its own table.
        let mut database = redb::Database::open(&path).unwrap();
        assert!(database.check_integrity().unwrap());
        let writing = database.begin_write().unwrap();
        writing.open_table(TABLE).unwrap().insert("token", &b"12345678one"[..]).unwrap();
        writing.commit().unwrap();
        drop(database);
        let store = open(&path);
        store.add_usage(&batch(1)).await.unwrap();
        assert_eq!(requests(&store).await, 1, "the number is kept too");
        assert_eq!(store.clear_usage().await.unwrap(), 1);
        store.add_usage(&batch(1)).await.unwrap();
        assert_eq!(requests(&store).await, 0, "a batch that comes again after that adds nothing");
    }

    #[tokio::test]
    async fn a_batch_that_failed_is_carried_out_when_the_store_works_again() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder.path().join("kv.redb"));
        store.add_usage(&batch(1)).await.unwrap();
        let failed: Result<(), StoreError> = store.run(|_| panic!("like redb")).await;
        failed.unwrap_err();
        store.add_usage(&batch(2)).await.unwrap();
        assert_eq!(requests(&store).await, 2);
    }

    #[tokio::test]
    async fn numbers_of_processes_that_have_ended_are_removed() {
        let folder = TempDir::new().unwrap();
        let (clock, path) = (ManualClock::at(NOON), folder.path().join("kv.redb"));
        let (store, _) = FileStore::open(&path, clock.clock()).unwrap();
        for process in 1..=3 {
            let batch = UsageBatch { process: ProcessId(process), ..batch(1) };
            store.add_usage(&batch).await.unwrap();
        }
        clock.advance(BATCHES_KEPT);
        store.add_usage(&batch(1)).await.unwrap();
        let opened = store.database.lock().unwrap();
        let reading = opened.as_ref().unwrap().database.begin_read().unwrap();
        assert_eq!(reading.open_table(BATCHES).unwrap().len().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_process_killed_while_it_adds_loses_nothing_that_was_acknowledged() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kv.redb");
        let mut before = 0;
        for round in 1..=8_u64 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "store::file::usage::tests::adds_until_killed", "--ignored"])
                .arg("--nocapture")
                .env(PATH_OF_WRITER, &path)
                .env(FIRST_NUMBER, (before + 1).to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let output = BufReader::new(child.stdout.take().unwrap()).lines();
            let number = |line: &str| line.strip_prefix("added ")?.parse::<u64>().ok();
            let mut output = output.map_while(Result::ok).filter_map(|line| number(&line));
            let acknowledged = output.find(|number| *number >= before + round).unwrap();
            std::thread::sleep(Duration::from_micros(137 * round));
            child.kill().unwrap();
            child.wait().unwrap();
            let acknowledged = output.last().unwrap_or(acknowledged);

            let store = open(&path);
            let found = requests(&store).await;
            assert!((acknowledged..=acknowledged + 1).contains(&found), "round {round}: {found}");
            // The next batch comes again, since its process has seen no answer.
            store.add_usage(&batch(acknowledged + 1)).await.unwrap();
            assert_eq!(requests(&store).await, acknowledged + 1, "round {round}");
            before = acknowledged + 1;
        }
    }

    #[tokio::test]
    #[ignore = "the process that the previous test kills"]
    async fn adds_until_killed() {
        let Some(path) = std::env::var_os(PATH_OF_WRITER) else {
            return;
        };
        let first = std::env::var(FIRST_NUMBER).unwrap().parse().unwrap();
        let store = open(Path::new(&path));
        for number in first.. {
            store.add_usage(&batch(number)).await.unwrap();
            // Written to the pipe directly, since the test harness captures `println!`.
            writeln!(io::stdout().lock(), "added {number}").unwrap();
        }
    }

    fn open(path: &Path) -> FileStore {
        let (store, notice) = FileStore::open(path, Clock::system()).unwrap();
        assert_eq!(notice, None);
        store
    }

    fn batch(number: u64) -> UsageBatch {
        let (key, model, day) = ("ada".into(), "m".into(), today());
        let row = UsageRow { key, model, day, requests: 1, charge: Charge::default() };
        UsageBatch { process: ProcessId(7), number, rows: vec![row], reserved: Vec::new() }
    }

    async fn requests(store: &FileStore) -> u64 {
        let rows = store.usage(today()..=today(), None).await.unwrap();
        rows.iter().map(|row| row.requests).sum()
    }

    fn today() -> Day {
        "2026-11-26".parse().unwrap()
    }

    const PATH_OF_WRITER: &str = "USAGE_TEST_WRITER_PATH";
    const FIRST_NUMBER: &str = "USAGE_TEST_FIRST_NUMBER";
    const NOON: u64 = 1_700_000_000_000;
}
