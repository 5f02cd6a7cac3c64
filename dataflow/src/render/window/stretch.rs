//! The answers of the rows in a stretch of an order.

use super::frames::{MovingFrame, Place, Rows};
use super::kind::{Function, Kind, float_value, tile};
use super::reach::{Interval, behind};
use super::row::{Value, order_len};
use crate::plan::{Frame, FrameOffset, FrameUnits, RowLimit};
use crate::state::{Cursor, Weigh, Weightless};

/// Entries that are looked at for the end of a group of peers before it is sought.
const PEERS_STEPS: usize = 8;

/// What the operator asks of every row.
pub(super) struct Asked<'a> {
    pub(super) functions: &'a [Function],
    pub(super) limit: Option<RowLimit>,
}

/// How the functions get their answers.
struct Plan {
    /// Per function: its frame, by number, and its number among the functions of the frame that walk.
    places: Vec<Option<(usize, usize)>>,
    /// Whether anybody asks for peers, and for the number of groups.
    peers: bool,
    groups: bool,
}

impl Asked<'_> {
    fn frames(&self) -> (Plan, Vec<Frame>) {
        let mut frames: Vec<(Frame, usize)> = Vec::new();
        let mut plan = Plan { places: Vec::new(), peers: false, groups: false };
        for Function { kind, frame, .. } in self.functions {
            if kind.ranks() {
                plan.peers |= !matches!(kind, Kind::RowNumber | Kind::Ntile(_));
                plan.groups |= matches!(kind, Kind::DenseRank);
                plan.places.push(None);
                continue;
            }
            let current = [frame.start, frame.end].contains(&Some(FrameOffset::Current));
            plan.peers |= current && frame.units != FrameUnits::Rows;
            plan.groups |= frame.units == FrameUnits::Groups;
            let at = frames.iter().position(|(known, _)| known == frame).unwrap_or_else(|| {
                frames.push((*frame, 0));
                frames.len() - 1
            });
            plan.places.push(Some((at, frames[at].1)));
            frames[at].1 += usize::from(kind.walks());
        }
        plan.peers |= plan.groups;
        (plan, frames.into_iter().map(|(frame, _)| frame).collect())
    }

    /// Calls `visit` with every row in `intervals` that leaves, copy by copy in order: its key, how much of that is the
    /// order's, and the functions' answers.
    pub(super) fn answers<const W: usize, G: Weigh<W>>(
        &self,
        rows: &Rows<'_, W, G>,
        intervals: &[Interval],
        mut visit: impl FnMut(&[u8], usize, &[Value]),
    ) {
        let (plan, frames) = self.frames();
        let mut frames: Vec<MovingFrame<W>> = frames
            .into_iter()
            .map(|frame| MovingFrame::new(frame, self.functions.iter().filter(|f| f.frame == frame), rows))
            .collect();
        let mut values = Vec::with_capacity(self.functions.len());
        let end = self.limit.map_or(i64::MAX, |limit| limit.end());
        let offset = self.limit.map_or(0, |limit| limit.offset);
        for (low, high) in intervals {
            let mut cursor = rows.tree.seek(|key| key < low.as_slice(), rows.weigh);
            let mut peers = Peers::default();
            while let Some(entry) = rows.tree.get(&cursor) {
                if cursor.before.rows >= end || high.as_ref().is_some_and(|high| entry.key() >= high.as_slice()) {
                    break;
                }
                let order = order_len(entry.payload());
                if plan.peers {
                    peers.move_to(&cursor, &entry.key()[..order], plan.groups, rows);
                }
                for copy in 0..entry.copies() {
                    let position = cursor.before.rows + copy;
                    if position < offset || position >= end {
                        continue;
                    }
                    let place = Place { position, entry, peers: (peers.start, peers.end), group: peers.group };
                    self.answer(&plan, &mut frames, &place, rows, &mut values);
                    visit(entry.key(), order, &values);
                }
                rows.tree.step(&mut cursor, rows.weigh);
            }
        }
    }

    fn answer<const W: usize, G: Weigh<W>>(
        &self,
        plan: &Plan,
        frames: &mut [MovingFrame<W>],
        place: &Place<'_>,
        rows: &Rows<'_, W, G>,
        values: &mut Vec<Value>,
    ) {
        values.clear();
        frames.iter_mut().for_each(|frame| frame.move_to(place, rows));
        let count = rows.len();
        for (function, at) in self.functions.iter().zip(&plan.places) {
            values.push(match (&function.kind, at) {
                (_, Some((frame, walker))) => frames[*frame].answer(function, *walker, rows),
                (Kind::RowNumber, _) => Value::Code(i128::from(place.position + 1)),
                (Kind::Rank, _) => Value::Code(i128::from(place.peers.0 + 1)),
                (Kind::DenseRank, _) => Value::Code(i128::from(place.group + 1)),
                (Kind::PercentRank, _) if count == 1 => float_value(0.0),
                (Kind::PercentRank, _) => float_value(place.peers.0 as f64 / (count - 1) as f64),
                (Kind::CumeDist, _) => float_value(place.peers.1 as f64 / count as f64),
                (Kind::Ntile(tiles), _) => Value::Code(i128::from(tile(place.position, count, *tiles))),
                (kind, None) => unreachable!("{kind:?} has a frame"),
            });
        }
    }
}

/// The group of peers that the rows have reached.
#[derive(Default)]
struct Peers {
    prefix: Option<Vec<u8>>,
    start: i64,
    end: i64,
    group: i64,
}

impl Peers {
    fn move_to<const W: usize, G: Weigh<W>>(
        &mut self,
        cursor: &Cursor<W>,
        prefix: &[u8],
        groups: bool,
        rows: &Rows<'_, W, G>,
    ) {
        if self.prefix.as_deref() == Some(prefix) {
            return;
        }
        if self.prefix.is_some() {
            // Rows come in order: this is the next group.
            self.start = cursor.before.rows;
            self.group += 1;
        } else {
            self.start = rows.tree.seek(|key| key < prefix, rows.weigh).before.rows;
            if groups {
                self.group = rows.groups.seek(|key| key < prefix, &Weightless).before.entries;
            }
        }
        self.prefix = Some(prefix.to_vec());
        let mut ahead = *cursor;
        for _ in 0..PEERS_STEPS {
            match rows.tree.get(&ahead) {
                Some(entry) if entry.key().starts_with(prefix) => rows.tree.step(&mut ahead, rows.weigh),
                _ => {
                    self.end = ahead.before.rows;
                    return;
                }
            }
        }
        self.end = match behind(prefix) {
            Some(high) => rows.tree.seek(|key| key < high.as_slice(), rows.weigh).before.rows,
            None => rows.len(),
        };
    }
}
