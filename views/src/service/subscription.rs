//! One subscription: the hub's events as messages, large transitions in several parts.
//!
//! Nothing is encoded before the connection has room for it: what waits here are columns shared with the hub.

use std::collections::VecDeque;
use std::sync::Arc;

use headwater_dataflow::repr::{Diff, Timestamp};
use headwater_proto::v1;
use headwater_proto::v1::subscribe_response::Message;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::encoder::{RowEncoder, SLICE_BYTES, SLICE_ROWS, slice_bytes, slice_rows};
use super::objects::ms;
use super::refusal::failed;
use super::stopped;
use crate::control::{SubscriptionEvent, ViewChanges};

/// A subscription of one client.
pub(super) struct Subscription {
    events: mpsc::Receiver<SubscriptionEvent>,
    encoding: v1::Encoding,
    /// One a view, from the first event on.
    encoders: Vec<RowEncoder>,
    /// The parts of the last transition that are not sent yet.
    parts: VecDeque<Part>,
    stopping: watch::Receiver<bool>,
    ended: bool,
}

/// What becomes one `Transition` message.
struct Part {
    from: Timestamp,
    to: Timestamp,
    snapshot: bool,
    more: bool,
    changes: Vec<ViewChanges>,
}

impl Subscription {
    pub(super) fn new(
        events: mpsc::Receiver<SubscriptionEvent>,
        encoding: v1::Encoding,
        stopping: watch::Receiver<bool>,
    ) -> Subscription {
        Subscription { events, encoding, encoders: Vec::new(), parts: VecDeque::new(), stopping, ended: false }
    }

    /// The next message; none after the closing one or an error.
    pub(super) async fn next(&mut self) -> Option<Result<v1::SubscribeResponse, Status>> {
        if self.ended {
            return None;
        }
        let message = self.message().await;
        self.ended = matches!(message, Err(_) | Ok(Message::Closing(_)));
        Some(message.map(|message| v1::SubscribeResponse { message: Some(message) }))
    }

    async fn message(&mut self) -> Result<Message, Status> {
        if let Some(part) = self.parts.pop_front() {
            return self.transition(&part);
        }
        let event = tokio::select! {
            // The hub's own last words come first.
            biased;
            event = self.events.recv() => event,
            () = stopped(&mut self.stopping) => Some(closing("the server is stopping")),
        };
        match event.unwrap_or_else(|| closing("the server ended the subscription")) {
            SubscriptionEvent::Started { schemas, at } => {
                let mut heads = Vec::with_capacity(schemas.len());
                for schema in schemas {
                    let (encoder, head) = RowEncoder::start(&schema, self.encoding)?;
                    self.encoders.push(encoder);
                    heads.push(head);
                }
                Ok(Message::Started(v1::SubscriptionStarted { schemas: heads, at: ms(at) }))
            }
            SubscriptionEvent::Transition { from, to, snapshot, more, changes } => {
                self.parts = parts(from, to, snapshot, more, changes);
                let first = self.parts.pop_front().expect("a transition has at least one part");
                self.transition(&first)
            }
            SubscriptionEvent::Progress { upper, errors } => {
                Ok(Message::Progress(v1::Progress { upper: ms(upper), errors }))
            }
            SubscriptionEvent::Closing { reason } => Ok(Message::Closing(v1::Closing { reason })),
        }
    }

    fn transition(&mut self, part: &Part) -> Result<Message, Status> {
        let mut changes = Vec::with_capacity(part.changes.len());
        for change in &part.changes {
            let encoder = self
                .encoders
                .get_mut(change.view)
                .ok_or_else(|| failed("a change came for a view that is not subscribed"))?;
            changes.push(v1::ViewChanges {
                view_index: u32::try_from(change.view).expect("a request of 64 MiB cannot name so many views"),
                rows: Some(encoder.encode(&change.rows)?),
                diffs: change.diffs.to_vec(),
            });
        }
        Ok(Message::Transition(v1::Transition {
            from: ms(part.from),
            to: ms(part.to),
            snapshot: part.snapshot,
            more: part.more,
            changes,
        }))
    }
}

fn closing(reason: &str) -> SubscriptionEvent {
    SubscriptionEvent::Closing { reason: reason.to_owned() }
}

/// Cuts a transition into parts of about the size of one slice. There is always one part, also without changes: it says
/// that nothing changed.
fn parts(from: Timestamp, to: Timestamp, snapshot: bool, more: bool, changes: Vec<ViewChanges>) -> VecDeque<Part> {
    let part = |changes| Part { from, to, snapshot, more: true, changes };
    let mut parts = VecDeque::new();
    let mut open = Vec::new();
    let (mut bytes, mut rows) = (0, 0);
    for slice in changes.iter().flat_map(slices) {
        bytes += slice_bytes(&slice.rows);
        rows += slice.rows.num_rows();
        if !open.is_empty() && (bytes > SLICE_BYTES || rows > SLICE_ROWS) {
            parts.push_back(part(std::mem::take(&mut open)));
            bytes = slice_bytes(&slice.rows);
            rows = slice.rows.num_rows();
        }
        open.push(slice);
    }
    parts.push_back(Part { more, ..part(open) });
    parts
}

fn slices(changes: &ViewChanges) -> Vec<ViewChanges> {
    let rows = changes.rows.num_rows();
    let step = slice_rows(&changes.rows);
    let slice = |offset: usize| {
        let len = step.min(rows - offset);
        let diffs: Arc<[Diff]> =
            if len == rows { Arc::clone(&changes.diffs) } else { changes.diffs[offset..offset + len].into() };
        ViewChanges { view: changes.view, rows: changes.rows.slice(offset, len), diffs }
    };
    (0..rows).step_by(step).map(slice).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;

    fn changes(view: usize, rows: i64) -> ViewChanges {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let diffs = (0..rows).map(|row| if row % 2 == 0 { 1 } else { -1 }).collect();
        ViewChanges { view, rows: RecordBatch::try_from_iter([("n", column)]).unwrap(), diffs }
    }

    /// Runs a subscription over `events` to its end.
    fn messages(events: Vec<SubscriptionEvent>, stopping: bool) -> Vec<Message> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sender, receiver) = mpsc::channel(events.len().max(1));
        for event in events {
            sender.try_send(event).unwrap();
        }
        // A stopping server keeps its hub; otherwise the hub ends.
        let sender = stopping.then_some(sender);
        let (_stop, stopping) = watch::channel(stopping);
        let mut subscription = Subscription::new(receiver, v1::Encoding::Rows, stopping);
        let mut messages = Vec::new();
        runtime.block_on(async {
            while let Some(message) = subscription.next().await {
                messages.push(message.unwrap().message.unwrap());
            }
        });
        drop(sender);
        messages
    }

    fn started(views: usize) -> SubscriptionEvent {
        SubscriptionEvent::Started { schemas: vec![changes(0, 0).rows.schema(); views], at: 10 }
    }

    fn transition(changes: Vec<ViewChanges>, more: bool) -> SubscriptionEvent {
        SubscriptionEvent::Transition { from: 0, to: 10, snapshot: true, more, changes }
    }

    #[test]
    fn events_become_messages_in_order() {
        let progress = SubscriptionEvent::Progress { upper: 11, errors: 2 };
        let events =
            vec![started(2), transition(vec![changes(1, 3)], false), progress, closing("the view was dropped")];
        let messages = messages(events, false);
        assert_eq!(messages.len(), 4);
        let Message::Started(started) = &messages[0] else { panic!("{messages:?}") };
        assert_eq!((started.schemas.len(), started.at), (2, 10));
        let Message::Transition(transition) = &messages[1] else { panic!("{messages:?}") };
        assert_eq!((transition.from, transition.to, transition.snapshot, transition.more), (0, 10, true, false));
        assert_eq!((transition.changes[0].view_index, &transition.changes[0].diffs), (1, &vec![1, -1, 1]));
        assert_eq!(transition.changes[0].rows.as_ref().unwrap().rows.len(), 3);
        assert_eq!(messages[2], Message::Progress(v1::Progress { upper: 11, errors: 2 }));
        assert_eq!(messages[3], Message::Closing(v1::Closing { reason: "the view was dropped".to_owned() }));
    }

    #[test]
    fn a_large_transition_comes_in_parts_of_the_same_bounds() {
        let count = 20_000;
        let events = vec![started(2), transition(vec![changes(0, count), changes(1, 5), changes(0, 5)], false)];
        let mut rows = 0;
        let mut last = None;
        for message in messages(events, false) {
            let Message::Transition(transition) = message else { continue };
            assert_eq!((transition.from, transition.to), (0, 10));
            assert_ne!(last, Some(false), "a part came after the last one");
            last = Some(transition.more);
            for change in &transition.changes {
                let len = change.rows.as_ref().unwrap().rows.len();
                assert_eq!(len, change.diffs.len());
                assert!(len <= SLICE_ROWS);
                rows += i64::try_from(len).unwrap();
            }
        }
        assert_eq!((rows, last), (count + 10, Some(false)));
    }

    #[test]
    fn small_changes_of_several_views_share_a_message() {
        let messages = messages(vec![started(3), transition(vec![changes(0, 1), changes(2, 1)], true)], false);
        let Message::Transition(transition) = &messages[1] else { panic!("{messages:?}") };
        assert_eq!((transition.changes.len(), transition.more), (2, true));
    }

    #[test]
    fn a_transition_without_changes_is_sent() {
        let messages = messages(vec![started(1), transition(vec![changes(0, 0)], false)], false);
        let Message::Transition(transition) = &messages[1] else { panic!("{messages:?}") };
        assert!(transition.changes.is_empty() && !transition.more);
    }

    #[test]
    fn a_stopping_server_closes_after_what_waits() {
        let messages = messages(vec![started(1)], true);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1], Message::Closing(v1::Closing { reason: "the server is stopping".to_owned() }));
    }
}
