//! The plan of one dataflow: a list of nodes in dependency order, every choice made, so that rendering is a plain walk.

mod best_groups;
mod indexed;
mod join_reduce;
mod window;

use arrow::datatypes::{DataType, SchemaRef};

use crate::exact::Moment;
use crate::expr::{Recomputed, ScalarExpr};
use crate::quantile::Quantile;
use crate::repr::values::ValueKind;
use crate::repr::{CollectionId, Delta, RowCodec};
pub use indexed::Index;
pub use window::{Frame, FrameOffset, FrameUnits, OrderBy, Places, RowLimit, WindowCall, WindowFunction};

/// The index of a node in [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// A dataflow's plan. Nodes stand in dependency order: a node's inputs have smaller ids. The last node is the output.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// One operator and the schema of the rows it produces.
#[derive(Clone, Debug)]
pub struct Node {
    /// What the node does.
    pub op: Op,
    /// The columns that leave it.
    pub schema: SchemaRef,
}

/// The operators.
#[derive(Clone, Debug)]
pub enum Op {
    /// Rows that never change, there from the first readable time on.
    Constant {
        /// The rows.
        rows: Delta,
    },
    /// A collection of a source or of another materialised view.
    Get {
        /// Which collection.
        collection: CollectionId,
        /// The columns that are read, by position in the collection's schema.
        columns: Vec<usize>,
        /// Whether the collection never retracts: then MIN and MAX over it need no multiset.
        append_only: bool,
    },
    /// A collection as an index of it keeps it: only joins read it, and their keys over it are the index's, in its order.
    /// They look rows up where they would otherwise keep a table of their own.
    Index {
        /// The rows of the index.
        index: CollectionId,
        /// The columns that are read, by position in the index's schema.
        columns: Vec<usize>,
    },
    /// Map, filter, project: rows for which every filter is true, each turned into the projected columns.
    Mfp {
        /// The input.
        input: NodeId,
        /// Conditions over the input's columns; NULL counts as false.
        filters: Vec<ScalarExpr>,
        /// The output's columns, over the input's columns. A row is projected only if it passes the filters.
        project: Vec<ScalarExpr>,
    },
    /// Pairs of rows with equal keys that pass `filter`.
    Join {
        /// The left input.
        left: NodeId,
        /// The right input.
        right: NodeId,
        /// What leaves.
        kind: JoinKind,
        /// The keys over the left input; as many and of the same types as `right_keys`. None at all: a cross join.
        left_keys: Vec<ScalarExpr>,
        /// The keys over the right input.
        right_keys: Vec<ScalarExpr>,
        /// Whether NULL keys are equal (`IS NOT DISTINCT FROM`); otherwise they never join.
        null_equals_null: bool,
        /// A further condition over left's columns followed by right's; only for [`JoinKind::Inner`].
        filter: Option<ScalarExpr>,
    },
    /// One row per group: the keys, then the aggregates. Without keys there is always exactly one row.
    Reduce {
        /// The input.
        input: NodeId,
        /// What is grouped by, over the input's columns.
        keys: Vec<ScalarExpr>,
        /// What is computed per group.
        aggregates: Vec<Aggregate>,
        /// Whether the input never retracts, as far as the plan can tell.
        append_only: bool,
        /// Which groups can be of use to what reads them; the others may stay away. `None`: all.
        best: Option<BestGroups>,
    },
    /// A [`Op::Reduce`] over an inner [`Op::Join`], aggregated below the join: facts are added up per key and group
    /// before they meet their partners, so that what passes through the join is one sum a group and not one row a fact.
    /// One row per group: the groups in the order of `order`, then the aggregates. Never without groups.
    JoinReduce {
        /// The input that is aggregated.
        facts: JoinedSide,
        /// The input that is looked up.
        partners: JoinedSide,
        /// Whether NULL keys are equal; otherwise they never join.
        null_equals_null: bool,
        /// Additive aggregates over the facts: see [`Aggregate::additive`].
        aggregates: Vec<Aggregate>,
        /// The output's group columns: indices into the facts' groups followed by the partners' groups.
        order: Vec<usize>,
    },
    /// Every different row once.
    Distinct {
        /// The input.
        input: NodeId,
    },
    /// One row per key out of records that replace each other: at every time the last record of each key, unless that is
    /// a tombstone. The input never retracts. Its first columns are those of the output; behind them stand a BOOLEAN that
    /// says whether the record is a tombstone, and a BIGINT that grows with the order of arrival, of which no two are equal.
    Upsert {
        /// The input.
        input: NodeId,
        /// The key, by position; never NULL, also in tombstones. Of the other columns tombstones may lack any.
        keys: Vec<usize>,
        /// The column of the input whose greatest value makes a record the last of its key, the order of arrival among equal ones; if
        /// there is none, the order of arrival alone. A tombstone without a value there comes last of what had arrived.
        order: Option<usize>,
    },
    /// Rows of lists: each row as often as its longest list has items. A list's column becomes that of its items, shorter
    /// lists are filled up with NULL; a struct's column becomes those of its fields.
    Unnest {
        /// The input.
        input: NodeId,
        /// The columns that are lists, by position.
        lists: Vec<usize>,
        /// The columns that are structs, or lists of them, by position.
        structs: Vec<usize>,
        /// What becomes of rows without items.
        empty: EmptyLists,
    },
    /// Rows in order: every row of the input with one more column a function, or, by their place in the order, some of them.
    Window {
        /// The input.
        input: NodeId,
        /// What divides the rows, over the input's columns; nothing for one partition of all.
        partition: Vec<ScalarExpr>,
        /// What orders the rows of a partition.
        order: Vec<OrderBy>,
        /// The columns that are added.
        functions: Vec<WindowFunction>,
        /// Which rows leave; `None` for all.
        limit: Option<RowLimit>,
    },
    /// All rows of all inputs.
    Union {
        /// The inputs; their schemas have the same types.
        inputs: Vec<NodeId>,
    },
}

/// The first groups of each partition, in the order of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BestGroups {
    /// What divides the groups: group columns, by position.
    pub partition: Vec<usize>,
    /// Which aggregate orders them, by its place among the aggregates.
    pub aggregate: usize,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Whether NULL comes first.
    pub nulls_first: bool,
    /// How many groups are of use. Of groups with equal aggregates nobody can tell which: none of them may stay away alone.
    pub rows: i64,
}

/// What an unnest makes of rows all of whose lists are NULL or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyLists {
    /// Nothing.
    Drop,
    /// One row of NULL where a list is NULL; nothing of empty ones.
    KeepNull,
    /// One row of NULL.
    Keep,
}

/// One input of an [`Op::JoinReduce`].
#[derive(Clone, Debug)]
pub struct JoinedSide {
    /// The input.
    pub input: NodeId,
    /// The keys over the input's columns; as many and of the same types on both sides.
    pub keys: Vec<ScalarExpr>,
    /// What is grouped by, over the input's columns.
    pub groups: Vec<ScalarExpr>,
}

/// What a join lets out: pairs are left's columns, then right's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Every pair.
    Inner,
    /// Every pair, and left rows without a partner beside NULLs.
    Left,
    /// Every pair, and right rows without a partner beside NULLs.
    Right,
    /// Every pair, and rows of both sides without a partner beside NULLs.
    Full,
    /// Left rows with at least one partner, as often as they stand in the left input.
    LeftSemi,
    /// Left rows without a partner, as often as they stand in the left input.
    LeftAnti,
    /// All left rows, and behind their columns a BOOLEAN that says whether they have a partner.
    LeftMark,
}

impl JoinKind {
    /// Whether left rows without a partner leave beside NULLs.
    pub fn keeps_left(self) -> bool {
        matches!(self, JoinKind::Left | JoinKind::Full)
    }

    /// Whether right rows without a partner leave beside NULLs.
    pub fn keeps_right(self) -> bool {
        matches!(self, JoinKind::Right | JoinKind::Full)
    }

    /// Whether pairs leave; if not, the join asks only whether there are partners.
    pub fn pairs(self) -> bool {
        matches!(self, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full)
    }
}

/// One aggregate of a [`Op::Reduce`].
#[derive(Clone, Debug)]
pub struct Aggregate {
    /// Which function.
    pub func: AggregateFunc,
    /// Its arguments over the input's columns: none for `COUNT(*)`, one for the others; for [`AggregateFunc::Recomputed`]
    /// the columns of a kept row.
    pub args: Vec<ScalarExpr>,
    /// Whether each different value counts once (COUNT, SUM, AVG and quantiles; others ignore it or know it themselves).
    pub distinct: bool,
    /// Only rows for which this is true count.
    pub filter: Option<ScalarExpr>,
    /// The name of the output column.
    pub name: String,
    /// The type of the result, as DataFusion plans it.
    pub data_type: DataType,
}

impl Aggregate {
    /// Whether the aggregate over n copies of a row is n times that over one copy: then it can be computed below a join.
    pub fn additive(&self) -> bool {
        match self.func {
            AggregateFunc::Count => !self.distinct,
            AggregateFunc::Sum | AggregateFunc::Avg => !self.distinct && !self.data_type.is_floating(),
            AggregateFunc::Min
            | AggregateFunc::Max
            | AggregateFunc::Bits(_)
            | AggregateFunc::Moment(_)
            | AggregateFunc::Quantile(_)
            | AggregateFunc::ApproxQuantile(_)
            | AggregateFunc::ApproxDistinct
            | AggregateFunc::Recomputed(_) => false,
        }
    }

    /// Whether the answer can be NULL.
    pub fn nullable(&self) -> bool {
        !matches!(self.func, AggregateFunc::Count | AggregateFunc::ApproxDistinct)
    }

    /// Whether the engine can maintain this aggregate; if not, what about it is not supported. Lowering asks before it
    /// puts an aggregate into a plan.
    ///
    /// # Errors
    /// The reason, in words for the author of the SQL text.
    pub fn check(&self) -> Result<(), String> {
        let argument = self.args.first().map(|arg| &arg.data_type);
        let distinct = match self.func {
            AggregateFunc::Count | AggregateFunc::Sum | AggregateFunc::Avg => true,
            AggregateFunc::Quantile(_) => argument.is_some_and(|argument| ValueKind::of(argument).is_code()),
            _ => false,
        };
        if self.distinct && !distinct {
            return Err(format!("DISTINCT in {:?}", self.func).to_uppercase());
        }
        match (&self.func, argument, &self.data_type) {
            (AggregateFunc::Recomputed(_), _, _) => Ok(()),
            (AggregateFunc::Bits(_), Some(DataType::Int16 | DataType::Int32 | DataType::Int64), to)
                if argument == Some(to) =>
            {
                Ok(())
            }
            (AggregateFunc::Moment(moment), _, DataType::Float64)
                if self.args.len() == moment.arguments()
                    && self.args.iter().all(|arg| arg.data_type == DataType::Float64) =>
            {
                Ok(())
            }
            (AggregateFunc::Quantile(quantile), Some(from), to) if from == to && quantile.is_of(from) => {
                match RowCodec::new([from]) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(format!("{} of {from} ({error})", quantile.func().name())),
                }
            }
            (AggregateFunc::ApproxQuantile(quantile), Some(from), to)
                if from == to && from.is_floating() && quantile.is_of(from) =>
            {
                Ok(())
            }
            (AggregateFunc::ApproxDistinct, Some(from), DataType::Int64) => match RowCodec::new([from]) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("approx_distinct of {from} ({error})")),
            },
            (AggregateFunc::Count, _, DataType::Int64) => Ok(()),
            (AggregateFunc::Sum, Some(_), DataType::Int64 | DataType::UInt64 | DataType::Float64) => Ok(()),
            (AggregateFunc::Sum, Some(DataType::Decimal128(_, from)), DataType::Decimal128(_, to)) if from == to => {
                Ok(())
            }
            (AggregateFunc::Avg, Some(DataType::Float64 | DataType::Float32), DataType::Float64) => Ok(()),
            (AggregateFunc::Avg, Some(DataType::Decimal128(_, from)), DataType::Decimal128(_, to)) if from <= to => {
                Ok(())
            }
            (AggregateFunc::Min | AggregateFunc::Max, Some(from), to) if from == to => match RowCodec::new([from]) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{:?} of {from} ({error})", self.func)),
            },
            (func, Some(argument), result) => Err(format!("{func:?} of {argument} as {result}")),
            (func, None, _) => Err(format!("{func:?} without an argument")),
        }
    }
}

/// The aggregate functions. NULL arguments are skipped; over nothing COUNT is 0 and the others are NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AggregateFunc {
    /// How many.
    Count,
    /// The sum: integers and decimals exactly and checked, floats exactly and rounded once.
    Sum,
    /// The mean.
    Avg,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// The bits that all values have, that any has, or that an odd number of them has.
    Bits(BitFunc),
    /// Variance, covariance, correlation, regression: exact sums, and a formula over them.
    Moment(Moment),
    /// A median or percentile, from the group's values in order.
    Quantile(Quantile),
    /// About a percentile: of an input that never retracts from an estimate, else [`AggregateFunc::Quantile`].
    ApproxQuantile(Quantile),
    /// About how many different values: of an input that never retracts from an estimate, else how many.
    ApproxDistinct,
    /// Any function, from all rows of a group whenever one of them changes; NULL is an argument like any other.
    Recomputed(Recomputed),
}

/// How bits of integers are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitFunc {
    /// BIT_AND.
    And,
    /// BIT_OR.
    Or,
    /// BIT_XOR.
    Xor,
}

impl Op {
    /// The nodes that the operator reads.
    pub fn inputs(&self) -> Vec<NodeId> {
        match self {
            Op::Constant { .. } | Op::Get { .. } | Op::Index { .. } => Vec::new(),
            Op::Mfp { input, .. }
            | Op::Reduce { input, .. }
            | Op::Distinct { input }
            | Op::Upsert { input, .. }
            | Op::Unnest { input, .. }
            | Op::Window { input, .. } => vec![*input],
            Op::Join { left, right, .. } => vec![*left, *right],
            Op::JoinReduce { facts, partners, .. } => vec![facts.input, partners.input],
            Op::Union { inputs } => inputs.clone(),
        }
    }

    /// The operator over other nodes: `rename` gives the new id of each input.
    pub fn with_inputs(mut self, rename: impl Fn(NodeId) -> NodeId) -> Op {
        match &mut self {
            Op::Constant { .. } | Op::Get { .. } | Op::Index { .. } => {}
            Op::Mfp { input, .. }
            | Op::Reduce { input, .. }
            | Op::Distinct { input }
            | Op::Upsert { input, .. }
            | Op::Unnest { input, .. }
            | Op::Window { input, .. } => *input = rename(*input),
            Op::Join { left, right, .. } => (*left, *right) = (rename(*left), rename(*right)),
            Op::JoinReduce { facts, partners, .. } => {
                (facts.input, partners.input) = (rename(facts.input), rename(partners.input));
            }
            Op::Union { inputs } => inputs.iter_mut().for_each(|input| *input = rename(*input)),
        }
        self
    }
}

impl Plan {
    /// Appends a node and returns its id.
    pub fn push(&mut self, op: Op, schema: SchemaRef) -> NodeId {
        self.nodes.push(Node { op, schema });
        NodeId(self.nodes.len() - 1)
    }

    /// Makes the choices that need no more than the plan itself, where they give the same answer: aggregates below joins,
    /// and groups that stay away where only the first are asked for.
    pub fn optimize(&mut self) {
        join_reduce::aggregate_below_joins(self);
        best_groups::keep_best_groups(self);
    }

    /// Lets joins look up in `indexes` where one of their inputs is a collection that is kept by the join's keys.
    pub fn use_indexes(&mut self, indexes: &[Index]) {
        indexed::use_indexes(self, indexes);
    }

    /// The node `id`. Panics if there is none.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The id of the output node. Panics if the plan is empty.
    pub fn output(&self) -> NodeId {
        NodeId(self.nodes.len().checked_sub(1).expect("a plan has at least one node"))
    }

    /// The columns of the output. Panics if the plan is empty.
    pub fn schema(&self) -> SchemaRef {
        self.node(self.output()).schema.clone()
    }
}
