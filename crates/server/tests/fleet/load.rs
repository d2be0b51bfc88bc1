//! Traffic during a test. Any failed request fails the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use code_assist_harness::{Connection, parse_events, post};

use crate::{GENERATE, HELLO, STREAM};

/// Clients that request whole answers and streams, one after the other, until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn on(address: &str, clients: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..clients)
            .map(|client| {
                let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
                let address = address.to_owned();
                thread::spawn(move || {
                    for turn in client.. {
                        if stop.load(Relaxed) {
                            break;
                        }
                        ask(&address, turn);
                        served.fetch_add(1, Relaxed);
                        thread::sleep(Duration::from_millis(20));
                    }
                })
            })
            .collect();
        Self { stop, served, clients }
    }

    /// How many requests were served. None failed.
    #[track_caller]
    pub(crate) fn stop(self) -> usize {
        self.stop.store(true, Relaxed);
        for client in self.clients {
            assert!(client.join().is_ok(), "a request failed: see above");
        }
        self.served.load(Relaxed)
    }
}

fn ask(address: &str, turn: usize) {
    let key = "x-goog-api-key: sesame";
    if turn.is_multiple_of(2) {
        let answer = Connection::open(address).send(post(GENERATE, &[key], HELLO));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        return;
    }
    let mut connection = Connection::open(address);
    connection.write(post(STREAM, &[key], HELLO));
    let head = connection.head();
    let body = connection.body(&head);
    let text = String::from_utf8(body).expect("UTF-8");
    assert_eq!(head.status, 200, "{text}");
    assert!(parse_events(&text).len() >= 3 && text.contains("\"finishReason\":\"STOP\""), "{text}");
}
