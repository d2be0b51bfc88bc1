//! What a child process writes.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// The output of a child process, read all the time: a full pipe would stop the child.
#[derive(Debug, Default)]
pub(super) struct CapturedOutput {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl CapturedOutput {
    pub(super) fn read(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                into.lock().expect("no panic under the lock").extend_from_slice(&buffer[..read]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    /// The buffer itself, for output that another thread collects.
    pub(super) fn buffer(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.bytes)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no panic under the lock")).into_owned()
    }

    /// Waits until the child has closed its end, and returns all of the output.
    pub(super) fn text_to_end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.text()
    }
}
