//! The answers of the rows in a stretch of an order.

use smallvec::SmallVec;

use super::frames::{MovingFrame, Place, Rows};
use super::kind::{Function, Kind, float_value, tile};
use super::reach::{Intervals, behind};
use super::row::{Value, order_len};
use crate::plan::{Frame, FrameOffset, FrameUnits, Places, RowLimit};
use crate::state::{Cursor, Weigh};

/// Entries that are looked at for the end of a group of peers before it is sought.
const PEERS_STEPS: usize = 8;

/// Every row leaves.
const ALL_ROWS: RowLimit = RowLimit { places: Places::Rows, offset: 0, fetch: None };

/// What the operator asks of every row, and how the functions get their answers.
pub(super) struct Asked {
    pub(super) functions: Vec<Function>,
    pub(super) limit: Option<RowLimit>,
    frames: Vec<Frame>,
    /// Per function: its frame, by number, and its number among the functions of the frame that walk.
    places: Vec<Option<(usize, usize)>>,
    /// Whether anybody asks for peers, and for the number of groups.
    peers: bool,
    pub(super) groups: bool,
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
        Asked { functions, limit, frames, places, peers: peers || groups, groups }
    }

    /// Calls `visit` with every row in `intervals` that leaves, copy by copy in order: its key, how much of that is the
    /// order's, and the functions' answers.
    pub(super) fn answers<const W: usize, G: Weigh<W>>(
        &self,
        rows: &Rows<'_, W, G>,
        intervals: &Intervals,
        mut visit: impl FnMut(&[u8], usize, &[Value]),
    ) {
        let mut frames: SmallVec<[MovingFrame<W>; 1]> = self
            .frames
            .iter()
            .map(|frame| MovingFrame::new(*frame, self.functions.iter().filter(|f| f.frame == *frame), rows))
            .collect();
        let mut values = SmallVec::new();
        let limit = self.limit.unwrap_or(ALL_ROWS);
        let (places, offset, end) = (limit.places, limit.offset, limit.end());
        for (low, high) in intervals.iter() {
            let mut cursor = rows.tree.seek(low);
            let mut peers = Peers::default();
            while let Some(entry) = rows.tree.get(&cursor) {
                if high.is_some_and(|high| entry.key() >= high) {
                    break;
                }
                let order = order_len(entry.payload());
                if self.peers {
                    peers.move_to(&cursor, &entry.key()[..order], self.groups, rows);
                }
                let counted = match places {
                    Places::Rows => cursor.rows,
                    Places::FirstPeers => peers.start,
                    Places::Groups => peers.group,
                };
                if counted >= end {
                    break;
                }
                for copy in 0..entry.copies() {
                    let position = cursor.rows + copy;
                    let counted = if places == Places::Rows { position } else { counted };
                    if counted < offset || counted >= end {
                        continue;
                    }
                    let place = Place { position, entry, peers: (peers.start, peers.end), group: peers.group };
                    self.answer(&mut frames, &place, rows, &mut values);
                    visit(entry.key(), order, &values);
                }
                rows.tree.step(&mut cursor);
            }
        }
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
    /// What the keys of the group begin with, once one is reached.
    prefix: SmallVec<[u8; 40]>,
    reached: bool,
    start: i64,
    end: i64,
    group: i64,
}

impl Peers {
    fn move_to<const W: usize, G: Weigh<W>>(
        &mut self,
        cursor: &Cursor,
        prefix: &[u8],
        groups: bool,
        rows: &Rows<'_, W, G>,
    ) {
        if self.reached && self.prefix.as_slice() == prefix {
            return;
        }
        if self.reached {
            // Rows come in order: this is the next group.
            self.start = cursor.rows;
            self.group += 1;
        } else {
            self.start = rows.tree.seek(prefix).rows;
            if groups {
                self.group = rows.groups.seek(prefix).rows;
            }
        }
        self.reached = true;
        self.prefix.clear();
        self.prefix.extend_from_slice(prefix);
        let mut ahead = *cursor;
        for _ in 0..PEERS_STEPS {
            match rows.tree.get(&ahead) {
                Some(entry) if entry.key().starts_with(prefix) => rows.tree.step(&mut ahead),
                _ => {
                    self.end = ahead.rows;
                    return;
                }
            }
        }
        self.end = behind(prefix).map_or(rows.len(), |high| rows.tree.seek(&high).rows);
    }
}
