//! The answers of the rows in a stretch of an order.

use smallvec::SmallVec;

use super::frames::{MovingFrame, Place, Rows};
use super::kind::{Function, Kind, float_value, tile};
use super::reach::{Intervals, behind};
use super::row::{Value, order_len};
use crate::plan::{Frame, FrameOffset, FrameUnits, Places, RowLimit};
use crate::repr::order_rows;
use crate::state::{Cursor, Weigh};

/// Entries that are looked at for the end of a group of peers before it is sought.
const PEERS_STEPS: usize = 8;

/// Every row leaves.
const ALL_ROWS: RowLimit = RowLimit { places: Places::Rows, offset: 0, fetch: None };

/// What the operator asks of every row, and how the functions get their answers.
pub(super) struct Asked {
    pub(super) functions: Vec<Function>,
    pub(super) limit: Option<RowLimit>,
    pub(super) frames: Vec<Frame>,
    /// Per function: its frame, by number, and its number among the functions of the frame that walk.
    places: Vec<Option<(usize, usize)>>,
    /// Whether anybody asks for peers, and for the number of groups.
    peers: bool,
    pub(super) groups: bool,
    /// Whether an answer depends on all rows of the partition, and whether one depends on those before.
    pub(super) of_all: bool,
    pub(super) ranks: bool,
}

impl Asked {
    /// The answers of `functions` for the rows that `limit` lets leave.
    pub(super) fn new(functions: Vec<Function>, limit: Option<RowLimit>) -> Asked {
        let mut frames: Vec<(Frame, usize)> = Vec::new();
        let counted = limit.map_or(Places::Rows, |limit| limit.places);
        let (mut peers, mut groups) = (counted == Places::FirstPeers, counted == Places::Groups);
        let mut places = Vec::with_capacity(functions.len());
        for Function { kind, frame, .. } in &functions {
            if kind.ranks() {
                peers |= !matches!(kind, Kind::RowNumber | Kind::Ntile(_));
                groups |= matches!(kind, Kind::DenseRank);
                places.push(None);
                continue;
            }
            let current = [frame.start, frame.end].contains(&Some(FrameOffset::Current));
            peers |= current && frame.units != FrameUnits::Rows;
            groups |= frame.units == FrameUnits::Groups;
            let at = frames.iter().position(|(known, _)| known == frame).unwrap_or_else(|| {
                frames.push((*frame, 0));
                frames.len() - 1
            });
            places.push(Some((at, frames[at].1)));
            frames[at].1 += usize::from(kind.walks());
        }
        let frames = frames.into_iter().map(|(frame, _)| frame).collect();
        let of_all = |kind: &Kind| matches!(kind, Kind::PercentRank | Kind::CumeDist | Kind::Ntile(_));
        let of_all = functions.iter().any(|function| of_all(&function.kind));
        let ranks = functions.iter().any(|function| function.kind.ranks());
        Asked { functions, limit, frames, places, peers: peers || groups, groups, of_all, ranks }
    }

    /// Calls `visit` with every row in `intervals` that leaves, copy by copy in order, and the functions' answers.
    pub(super) fn answers<const W: usize, G: Weigh<W>>(
        &self,
        rows: &Rows<'_, W, G>,
        intervals: &Intervals,
        mut visit: impl FnMut(Answered<'_>, &[Value]),
    ) {
        let mut frames: SmallVec<[MovingFrame<W>; 1]> = SmallVec::new();
        let mut values = SmallVec::new();
        let limit = self.limit.unwrap_or(ALL_ROWS);
        let (places, offset, end) = (limit.places, limit.offset, limit.end());
        for (low, high) in intervals.iter() {
            let mut cursor = rows.tree.seek(low);
            let mut peers = Peers::default();
            while let Some(entry) = rows.tree.get(&cursor) {
                if high.is_some_and(|high| order_rows(entry.key(), high).is_ge()) {
                    break;
                }
                let order = order_len(entry.payload());
                if self.peers {
                    peers.move_to(&cursor, &entry.key()[..order], (low, self.groups), rows);
                }
                let counted = match places {
                    Places::Rows => cursor.rows,
                    Places::FirstPeers => peers.start.rows,
                    Places::Groups => peers.group,
                };
                if counted >= end {
                    break;
                }
                let mut copy_of_last = false;
                for copy in 0..entry.copies() {
                    let position = cursor.rows + copy;
                    let counted = if places == Places::Rows { position } else { counted };
                    if counted < offset || counted >= end {
                        continue;
                    }
                    if frames.is_empty() {
                        frames.extend(self.frames.iter().map(|frame| self.moving(*frame, rows)));
                    }
                    let at = Place { position, entry, cursor, peers: (peers.start, peers.end), group: peers.group };
                    self.answer(&mut frames, &at, rows, &mut values);
                    visit(Answered { key: entry.key(), order, copy_of_last }, &values);
                    copy_of_last = true;
                }
                rows.tree.step(&mut cursor);
            }
        }
    }

    fn moving<const W: usize, G: Weigh<W>>(&self, frame: Frame, rows: &Rows<'_, W, G>) -> MovingFrame<W> {
        MovingFrame::new(frame, self.functions.iter().filter(|function| function.frame == frame), rows)
    }

    fn answer<const W: usize, G: Weigh<W>>(
        &self,
        frames: &mut [MovingFrame<W>],
        place: &Place<'_>,
        rows: &Rows<'_, W, G>,
        values: &mut SmallVec<[Value; 2]>,
    ) {
        values.clear();
        frames.iter_mut().for_each(|frame| frame.move_to(place, rows));
        let count = rows.len();
        for (function, at) in self.functions.iter().zip(&self.places) {
            values.push(match (&function.kind, at) {
                (_, Some((frame, walker))) => frames[*frame].answer(function, *walker, rows),
                (Kind::RowNumber, _) => Value::Code(i128::from(place.position + 1)),
                (Kind::Rank, _) => Value::Code(i128::from(place.peers.0.rows + 1)),
                (Kind::DenseRank, _) => Value::Code(i128::from(place.group + 1)),
                (Kind::PercentRank, _) if count == 1 => float_value(0.0),
                (Kind::PercentRank, _) => float_value(place.peers.0.rows as f64 / (count - 1) as f64),
                (Kind::CumeDist, _) => float_value(place.peers.1.rows as f64 / count as f64),
                (Kind::Ntile(tiles), _) => Value::Code(i128::from(tile(place.position, count, *tiles))),
                (kind, None) => unreachable!("{kind:?} has a frame"),
            });
        }
    }
}

/// A row that was asked for.
#[derive(Clone, Copy)]
pub(super) struct Answered<'a> {
    pub(super) key: &'a [u8],
    /// How much of the key is the order's.
    pub(super) order: usize,
    /// Whether it is a copy of the one before.
    pub(super) copy_of_last: bool,
}

/// The group of peers that the rows have reached.
#[derive(Default)]
struct Peers {
    /// What the keys of the group begin with, once one is reached.
    prefix: SmallVec<[u8; 40]>,
    reached: bool,
    /// Before its first row, and behind its last.
    start: Cursor,
    end: Cursor,
    group: i64,
}

impl Peers {
    /// Moves to the group of the entry at `cursor`, whose order's keys are `prefix`. Rows begin at the key `low`.
    fn move_to<const W: usize, G: Weigh<W>>(
        &mut self,
        cursor: &Cursor,
        prefix: &[u8],
        (low, groups): (&[u8], bool),
        rows: &Rows<'_, W, G>,
    ) {
        if self.reached && order_rows(&self.prefix, prefix).is_eq() {
            return;
        }
        // Rows come in order: this is the next group. Nor does the first row have peers before a bound that is no longer
        // than the order's keys: what begins with them sorts on one side of it.
        self.start = if self.reached || low.len() <= prefix.len() { *cursor } else { rows.tree.seek(prefix) };
        if self.reached {
            self.group += 1;
        } else if groups {
            self.group = rows.groups.seek(prefix).rows;
        }
        self.reached = true;
        self.prefix.clear();
        self.prefix.extend_from_slice(prefix);
        self.end = *cursor;
        for _ in 0..PEERS_STEPS {
            rows.tree.step(&mut self.end);
            let next = rows.tree.get(&self.end).and_then(|next| next.key().get(..prefix.len()));
            if next.is_none_or(|next| order_rows(next, prefix).is_ne()) {
                return;
            }
        }
        self.end = behind(prefix).map_or_else(|| rows.tree.end(), |high| rows.tree.seek(&high));
    }
}
