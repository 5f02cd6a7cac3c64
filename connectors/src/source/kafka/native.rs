//! What only the C interface of the client library offers: messages in batches, out of the library's own buffers, and its log
//! in a queue of its own.
//!
//! The safe interface of the crate takes one message at a time, with an event and two counted references around each; that
//! costs as much again as the library itself (see ARCHITECTURE.md). And it takes the lines of the log, some of which matter
//! (see [`Notices`]), out of the queue of the messages, where a batch would pass them over. This is the only file with unsafe
//! code, which a test checks. What it relies on:
//!
//! - A queue is asked for once, and given back once, before the client is closed: the consumer is held until then.
//! - The library fills at most as many places of a buffer as it is told, each with a message that is ours to destroy.
//!   [`Message`] does that, once, and everything borrowed from a message borrows the `Message`.
//! - A message's payload and key are `len` and `key_len` bytes, or null; they do not change while it lives.
//! - An event is ours to destroy, and its texts end with a zero and live as long as it does.
//! - The library's queues may be used from any thread.

#![allow(unsafe_code, reason = "the library hands out batches by its C interface only")]

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::notices::Notices;
use crate::source::SourceError;

/// The queue of a consumer.
pub(super) struct Batches {
    consumer: Arc<BaseConsumer<Notices>>,
    queue: NonNull<native::rd_kafka_queue_t>,
}

// SAFETY: the library's queues may be used from any thread.
unsafe impl Send for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        // SAFETY: the queue was given to us once and is given back once; the consumer is dropped afterwards.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

impl Batches {
    /// The queue of `consumer`, which must not be polled in another way while there is anything to read.
    ///
    /// # Errors
    /// The client has none, because it is of no group.
    pub(super) fn new(consumer: Arc<BaseConsumer<Notices>>) -> Result<Batches, SourceError> {
        // SAFETY: the client lives as long as `consumer`.
        let queue = unsafe { native::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let none = || SourceError::Client { reason: "the client has no queue".to_owned() };
        Ok(Batches { queue: NonNull::new(queue).ok_or_else(none)?, consumer })
    }

    /// The consumer.
    pub(super) fn consumer(&self) -> &BaseConsumer<Notices> {
        &self.consumer
    }

    /// Takes at most `most` messages, waiting at most `wait` for so many.
    pub(super) fn take(&self, most: usize, wait: Duration) -> Vec<Message> {
        let mut messages = vec![ptr::null_mut(); most];
        let wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is ours, and there is room for `most` messages.
        let taken =
            unsafe { native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait, messages.as_mut_ptr(), most) };
        // A negative number is a failure and no message.
        messages.truncate(usize::try_from(taken).unwrap_or(0));
        messages.into_iter().filter_map(|message| NonNull::new(message).map(Message)).collect()
    }
}

/// The lines that the library logs.
pub(super) struct Logs {
    consumer: Arc<BaseConsumer<Notices>>,
    queue: NonNull<native::rd_kafka_queue_t>,
    /// Held while lines are passed on: who has waited for it has seen all that were there.
    serving: Mutex<()>,
}

// SAFETY: the library's queues may be used from any thread, by several at once.
unsafe impl Send for Logs {}
// SAFETY: the same.
unsafe impl Sync for Logs {}

impl Drop for Logs {
    fn drop(&mut self) {
        // SAFETY: the queue was given to us once and is given back once; the library holds it for itself while it logs.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

impl Logs {
    /// Takes the log of a client that reads nothing yet.
    ///
    /// # Errors
    /// The client has no queue for it.
    pub(super) fn new(consumer: &Arc<BaseConsumer<Notices>>) -> Result<Logs, SourceError> {
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`.
        let queue = unsafe { native::rd_kafka_queue_new(client) };
        let none = || SourceError::Client { reason: "the client has no queue for its log".to_owned() };
        let queue = NonNull::new(queue).ok_or_else(none)?;
        let logs = Logs { consumer: Arc::clone(consumer), queue, serving: Mutex::default() };
        // SAFETY: both live.
        let set = unsafe { native::rd_kafka_set_log_queue(client, queue.as_ptr()) };
        if set != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(none());
        }
        // What was logged so far waits where messages will.
        while consumer.poll(DRAIN).is_some() {}
        Ok(logs)
    }

    /// Passes on all lines that are there.
    pub(super) fn serve(&self) {
        let _serving = self.serving.lock().expect("no thread panics while it passes on a line");
        loop {
            // SAFETY: the queue is ours.
            let event = unsafe { native::rd_kafka_queue_poll(self.queue.as_ptr(), 0) };
            if event.is_null() {
                return;
            }
            let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the event lives; where it is no line of the log the library says so and writes nothing.
            let found = unsafe { native::rd_kafka_event_log(event, &raw mut facility, &raw mut line, &raw mut level) };
            if found == 0 {
                // SAFETY: both texts end with a zero and live as long as the event.
                let (facility, line) = unsafe { (CStr::from_ptr(facility), CStr::from_ptr(line)) };
                self.consumer.context().line(level, &facility.to_string_lossy(), line.to_string_lossy().trim());
            }
            // SAFETY: the event is ours and is destroyed once.
            unsafe { native::rd_kafka_event_destroy(event) };
        }
    }
}

/// How long what was logged at first is waited for.
const DRAIN: Duration = Duration::from_millis(2);

/// The name of a header and its value, which may be missing.
type Header<'a> = (String, Option<&'a [u8]>);

/// One message, or what the library has to say instead of one.
pub(super) struct Message(NonNull<native::rd_kafka_message_t>);

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours and is destroyed once.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

impl Message {
    #[inline]
    fn native(&self) -> &native::rd_kafka_message_t {
        // SAFETY: the message lives as long as `self`, and nobody changes it.
        unsafe { self.0.as_ref() }
    }

    /// Why this is no message, if it is none.
    #[inline]
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        match self.native().err {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => None,
            error => Some(error.into()),
        }
    }

    /// The partition that it is about.
    #[inline]
    pub(super) fn partition(&self) -> i32 {
        self.native().partition
    }

    /// Its place there.
    #[inline]
    pub(super) fn offset(&self) -> i64 {
        self.native().offset
    }

    /// The value; `None` is a tombstone.
    #[inline]
    pub(super) fn payload(&self) -> Option<&[u8]> {
        // SAFETY: the payload is so long, and lives and stays as long as the message.
        unsafe { bytes(self.native().payload, self.native().len) }
    }

    /// The key.
    #[inline]
    pub(super) fn key(&self) -> Option<&[u8]> {
        // SAFETY: as for the payload.
        unsafe { bytes(self.native().key, self.native().key_len) }
    }

    /// When it was made or appended, in milliseconds since 1970.
    #[inline]
    pub(super) fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives, and `kind` is there to be written to.
        let ms = unsafe { native::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        (kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && ms >= 0).then_some(ms)
    }

    /// The headers in order, each with its name and value; `None` if there are none at all.
    pub(super) fn headers(&self) -> Option<Vec<Header<'_>>> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message lives, and `headers` is there to be written to.
        let found = unsafe { native::rd_kafka_message_headers(self.0.as_ptr(), &raw mut headers) };
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let mut all = Vec::new();
        loop {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers belong to the message; the library writes the places or says that there are no more.
            let next = unsafe {
                native::rd_kafka_header_get_all(headers, all.len(), &raw mut name, &raw mut value, &raw mut len)
            };
            if next != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Some(all);
            }
            // SAFETY: the name ends with a zero; the value is so long or null; both belong to the message.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value, len)) };
            all.push((name.to_string_lossy().into_owned(), value));
        }
    }
}

/// The bytes at `start`; `None` if it is null.
///
/// # Safety
/// Unless it is null, `start` points to `len` bytes that live and stay as they are for `'a`.
#[inline]
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: whoever calls vouches for it.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}
