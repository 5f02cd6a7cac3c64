//! Generated SQL as a tree, so that a failing text can be made smaller: parts may be left out, and a node may be
//! replaced by one of the same kind inside it.

/// What may stand in for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Number,
    Text,
    Date,
    Timestamp,
    Interval,
    Query,
    /// Everything that only its own kind of place can hold.
    Clause,
}

/// A piece of SQL.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Node(Node),
    /// A node that can be left out.
    Optional(Node),
}

impl Node {
    /// `template` with its `{}` replaced by `children`. Panics if their numbers differ.
    pub(crate) fn new(kind: Kind, template: &str, children: impl IntoIterator<Item = Node>) -> Node {
        let mut parts = Vec::new();
        let mut children = children.into_iter();
        for (index, text) in template.split("{}").enumerate() {
            if index > 0 {
                parts.push(Part::Node(children.next().expect("a node for every place in the template")));
            }
            parts.push(Part::Text(text.to_owned()));
        }
        assert!(children.next().is_none(), "more nodes than places in {template}");
        Node { kind, parts }
    }

    /// Plain text.
    pub(crate) fn leaf(kind: Kind, text: impl Into<String>) -> Node {
        Node { kind, parts: vec![Part::Text(text.into())] }
    }

    /// Appends a node.
    pub(crate) fn push(&mut self, node: Node) {
        self.parts.push(Part::Node(node));
    }

    /// Appends a node that can be left out.
    pub(crate) fn push_optional(&mut self, node: Node) {
        self.parts.push(Part::Optional(node));
    }

    /// Nodes in a row, separated; all but the first can be left out.
    pub(crate) fn list(separator: &str, nodes: impl IntoIterator<Item = Node>) -> Node {
        let mut list = Node { kind: Kind::Clause, parts: Vec::new() };
        for node in nodes {
            if list.parts.is_empty() {
                list.push(node);
            } else {
                list.push_optional(Node::new(Kind::Clause, &format!("{separator}{{}}"), [node]));
            }
        }
        list
    }

    /// The text.
    pub(crate) fn sql(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(piece) => text.push_str(piece),
                Part::Node(node) | Part::Optional(node) => node.write(text),
            }
        }
    }

    /// Smaller trees, the smallest first.
    pub(crate) fn smaller(&self) -> Vec<Node> {
        let mut found = Vec::new();
        self.reductions(&mut |node| found.push(node));
        found.sort_by_cached_key(|node| node.sql().len());
        let size = self.sql().len();
        found.retain(|node| node.sql().len() < size);
        found
    }

    fn reductions(&self, emit: &mut dyn FnMut(Node)) {
        let mut inside = Vec::new();
        self.collect(self.kind, &mut inside);
        for node in inside {
            emit(node.clone());
        }
        for index in 0..self.parts.len() {
            let (Part::Node(child) | Part::Optional(child)) = &self.parts[index] else { continue };
            if matches!(self.parts[index], Part::Optional(_)) {
                let mut less = self.clone();
                less.parts.remove(index);
                emit(less);
            }
            child.reductions(&mut |smaller| {
                let mut less = self.clone();
                match &mut less.parts[index] {
                    Part::Node(child) | Part::Optional(child) => *child = smaller,
                    Part::Text(_) => unreachable!("the part is a node"),
                }
                emit(less);
            });
        }
    }

    /// The nodes of `kind` strictly inside; not looked for inside one another beyond what reductions repeat.
    fn collect<'a>(&'a self, kind: Kind, found: &mut Vec<&'a Node>) {
        if kind == Kind::Clause {
            return;
        }
        for part in &self.parts {
            if let Part::Node(node) | Part::Optional(node) = part {
                if node.kind == kind {
                    found.push(node);
                }
                node.collect(kind, found);
            }
        }
    }
}

#[test]
fn trees_become_smaller() {
    let inner = Node::new(Kind::Query, "SELECT {} FROM t", [Node::leaf(Kind::Number, "a")]);
    let mut outer = Node::new(Kind::Query, "SELECT 1 FROM ({}) AS s", [inner]);
    outer.push_optional(Node::leaf(Kind::Clause, " WHERE TRUE"));
    assert_eq!(outer.sql(), "SELECT 1 FROM (SELECT a FROM t) AS s WHERE TRUE");
    let smaller: Vec<String> = outer.smaller().iter().map(Node::sql).collect();
    assert_eq!(smaller, ["SELECT a FROM t", "SELECT 1 FROM (SELECT a FROM t) AS s"]);
}
