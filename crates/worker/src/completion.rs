//! An operation of the runtime whose result is delivered to a task: a body, or the head of an answer
//! and its body.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Poll;

use bytes::Bytes;

/// An operation that the runtime completes: chunks of a body, or the head of an answer.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Its number within the task.
    pub(crate) number: u32,
    chunks: RefCell<VecDeque<Bytes>>,
    head: RefCell<Option<String>>,
    end: RefCell<Option<Result<(), String>>>,
    /// A delivery is in progress: its return value asks for more, so no call is needed.
    is_delivering: Cell<bool>,
    /// The task waits for the next chunk.
    is_wanted: Cell<bool>,
    /// The task will not read it any more.
    is_abandoned: Cell<bool>,
}

impl Completion {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            chunks: RefCell::default(),
            head: RefCell::default(),
            end: RefCell::default(),
            is_delivering: Cell::new(false),
            is_wanted: Cell::new(false),
            is_abandoned: Cell::new(false),
        }
    }

    /// Stores a chunk of the body, its end, or the error that ended it.
    pub(crate) fn deliver(&self, kind: u32, bytes: Vec<u8>) {
        let end = match kind {
            ENDED => Some(Ok(())),
            FAILED => Some(Err(String::from_utf8_lossy(&bytes).into_owned())),
            _ => None,
        };
        if kind != FAILED && !bytes.is_empty() {
            self.chunks.borrow_mut().push_back(Bytes::from(bytes));
        }
        if end.is_some() {
            *self.end.borrow_mut() = end;
        }
    }

    /// Stores the head of an answer.
    pub(crate) fn deliver_head(&self, head: String) {
        *self.head.borrow_mut() = Some(head);
    }

    /// Stores a result and runs the task. The return value goes back to the runtime: whether the task
    /// wants more.
    pub(crate) fn deliver_and_run(&self, store: impl FnOnce(), run: impl FnOnce()) -> u32 {
        if self.is_abandoned.get() {
            return UNWANTED;
        }
        self.is_delivering.set(true);
        self.is_wanted.set(false);
        store();
        run();
        self.is_delivering.set(false);
        match (self.is_abandoned.get(), self.is_wanted.get()) {
            (true, _) => UNWANTED,
            (false, false) => ENOUGH,
            (false, true) => WANTED,
        }
    }

    /// Ends it without a delivery.
    pub(crate) fn end(&self) {
        *self.end.borrow_mut() = Some(Ok(()));
    }

    /// The head of an answer, or the error in its place.
    pub(crate) async fn head(&self) -> Result<String, String> {
        std::future::poll_fn(|_| match self.head.borrow_mut().take() {
            Some(head) => Poll::Ready(Ok(head)),
            None => match self.end.borrow_mut().take() {
                Some(end) => Poll::Ready(Err(end.err().unwrap_or_default())),
                None => Poll::Pending,
            },
        })
        .await
    }

    /// The next chunk, `None` at the end. `read` asks the runtime to read.
    pub(crate) fn poll_chunk(&self, read: impl FnOnce()) -> Poll<Option<Result<Bytes, String>>> {
        if let Some(chunk) = self.chunks.borrow_mut().pop_front() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        if let Some(end) = &*self.end.borrow() {
            return Poll::Ready(end.clone().err().map(Err));
        }
        if !self.is_wanted.replace(true) && !self.is_delivering.get() {
            read();
        }
        Poll::Pending
    }

    /// Whether everything was delivered and read.
    pub(crate) fn is_over(&self) -> bool {
        self.chunks.borrow().is_empty() && matches!(&*self.end.borrow(), Some(Ok(())))
    }

    /// Refuses further deliveries: the next one returns [`UNWANTED`]. True when there may be no next
    /// one, so that the runtime has to be asked to cancel.
    pub(crate) fn abandon(&self) -> bool {
        self.is_abandoned.set(true);
        !self.is_delivering.get() && self.end.borrow().is_none()
    }
}

// Kinds of delivery. `runtime.js` has the same numbers, and 0 for a chunk that is not the last.
const ENDED: u32 = 1;
const FAILED: u32 = 2;

// What a delivery returns. `runtime.js` has the same numbers.
pub(crate) const UNWANTED: u32 = 0;
const ENOUGH: u32 = 1;
const WANTED: u32 = 2;
