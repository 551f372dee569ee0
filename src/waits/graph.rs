//! The edges between those who wait, and the search for a way along them.
//!
//! `waits` keeps it under its lock; the model checker runs it as it is.
//!
//! Invariant: a search visits each node once, so it ends whatever the edges are, and needs no
//! stack of its own. It goes breadth first, in the order in which the edges were added: the way
//! it names is a shortest one, and always the same.
//!
//! It knows no lock and refuses nothing.

use std::mem;

use smallvec::SmallVec;

use crate::sync::Arc;

/// Somebody who may wait, as a small number.
pub(crate) type Node = usize;

#[derive(Debug, Default)]
pub(crate) struct Graph {
    places: Vec<Place>,
    /// Nodes that are nobody's now.
    vacant: Vec<Node>,
    /// Waits so far.
    waits: u64,
    /// Searches so far.
    searches: u64,
    /// Those found in a search whose edges are still to be followed; kept for its memory.
    found: Vec<Node>,
}

#[derive(Debug)]
struct Place {
    path: Arc<str>,
    /// One takes no memory of its own, so a service that waits for one other allocates nothing.
    edges: SmallVec<[Edge; 1]>,
    /// The last search that came here, and from where.
    search: u64,
    from: Node,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    to: Node,
    wait: u64,
}

impl Graph {
    /// A node of this name, without edges.
    pub(crate) fn enter(&mut self, path: Arc<str>) -> Node {
        let place = Place {
            path,
            edges: SmallVec::new(),
            search: 0,
            from: 0,
        };
        if let Some(node) = self.vacant.pop() {
            self.places[node] = place;
            return node;
        }
        self.places.push(place);
        self.places.len() - 1
    }

    /// Gives a node up that no edge leads to.
    pub(crate) fn leave(&mut self, node: Node) {
        self.places[node].edges = SmallVec::new();
        self.vacant.push(node);
    }

    /// Adds one wait, for all of `to`, and returns its number.
    pub(crate) fn add(&mut self, from: Node, to: impl Iterator<Item = Node>) -> u64 {
        self.waits += 1;
        let wait = self.waits;
        let edges = to.map(|to| Edge { to, wait });
        self.places[from].edges.extend(edges);
        wait
    }

    /// Ends a wait, if it has not ended.
    pub(crate) fn end(&mut self, from: Node, wait: u64) {
        self.places[from].edges.retain(|edge| edge.wait != wait);
    }

    /// Ends a wait as far as it is for `to`.
    pub(crate) fn end_one(&mut self, from: Node, wait: u64, to: Node) {
        let edges = &mut self.places[from].edges;
        edges.retain(|edge| edge.wait != wait || edge.to != to);
    }

    /// Ends all waits of a node.
    pub(crate) fn end_all(&mut self, from: Node) {
        self.places[from].edges.clear();
    }

    /// How many edges start at a node.
    pub(crate) fn degree(&self, node: Node) -> usize {
        self.places[node].edges.len()
    }

    /// The names on a shortest way from `start` to `goal`, both included, if there is one.
    pub(crate) fn way(&mut self, start: Node, goal: Node) -> Option<Vec<Arc<str>>> {
        if start == goal {
            return Some(vec![self.name(goal)]);
        }
        // Most of those who are waited for wait for nobody.
        if self.degree(start) == 0 {
            return None;
        }
        let mut found = mem::take(&mut self.found);
        found.clear();
        let reached = self.search(start, goal, &mut found);
        self.found = found;
        reached.then(|| self.way_back(start, goal))
    }

    fn search(&mut self, start: Node, goal: Node, found: &mut Vec<Node>) -> bool {
        self.searches += 1;
        self.places[start].search = self.searches;
        found.push(start);
        let mut next = 0;
        while let Some(&node) = found.get(next) {
            next += 1;
            for edge in 0..self.degree(node) {
                let to = self.places[node].edges[edge].to;
                let place = &mut self.places[to];
                if mem::replace(&mut place.search, self.searches) == self.searches {
                    continue;
                }
                place.from = node;
                if to == goal {
                    return true;
                }
                found.push(to);
            }
        }
        false
    }

    fn way_back(&self, start: Node, goal: Node) -> Vec<Arc<str>> {
        let mut way = vec![self.name(goal)];
        let mut node = goal;
        while node != start {
            node = self.places[node].from;
            way.push(self.name(node));
        }
        way.reverse();
        way
    }

    fn name(&self, node: Node) -> Arc<str> {
        Arc::clone(&self.places[node].path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph of so many nodes, with these edges.
    fn graph(nodes: usize, edges: impl IntoIterator<Item = (Node, Node)>) -> Graph {
        let mut graph = Graph::default();
        for node in 0..nodes {
            graph.enter(node.to_string().into());
        }
        for (from, to) in edges {
            graph.add(from, [to].into_iter());
        }
        graph
    }

    fn way(graph: &mut Graph, start: Node, goal: Node) -> Option<String> {
        graph.way(start, goal).map(|way| way.join(" "))
    }

    #[test]
    fn a_shortest_way_is_named_and_of_those_the_first_that_was_added() {
        let edges = [(0, 1), (1, 2), (2, 3), (0, 5), (0, 4), (4, 3), (5, 3)];
        let mut graph = graph(6, edges);
        assert_eq!(way(&mut graph, 0, 3).as_deref(), Some("0 5 3"));
        assert_eq!(way(&mut graph, 2, 2).as_deref(), Some("2"));
        assert_eq!(way(&mut graph, 3, 0), None);
        assert_eq!(way(&mut graph, 1, 4), None);
    }

    #[test]
    fn a_search_ends_though_the_edges_hold_a_cycle() {
        let mut graph = graph(4, [(0, 1), (1, 2), (2, 0), (2, 2)]);
        assert_eq!(way(&mut graph, 0, 3), None);
        assert_eq!(way(&mut graph, 1, 0).as_deref(), Some("1 2 0"));
    }

    #[test]
    fn a_chain_of_ten_thousand_is_followed_to_its_end() {
        const LENGTH: usize = 10_000;
        let chain = (1..LENGTH).map(|node| (node - 1, node));
        let mut graph = graph(LENGTH + 1, chain);
        assert_eq!(graph.way(0, LENGTH - 1).unwrap().len(), LENGTH);
        assert_eq!(graph.way(0, LENGTH), None);
    }

    #[test]
    fn a_wait_ends_alone_and_as_a_whole() {
        let mut graph = graph(4, []);
        let (two, one) = (
            graph.add(0, [1, 2].into_iter()),
            graph.add(0, [1].into_iter()),
        );
        graph.end_one(0, two, 1);
        assert_eq!(graph.degree(0), 2);
        assert!(graph.way(0, 1).is_some() && graph.way(0, 2).is_some());
        graph.end(0, one);
        graph.end(0, one);
        assert!(graph.way(0, 1).is_none() && graph.way(0, 2).is_some());
        graph.end_all(0);
        assert_eq!(graph.degree(0), 0);
    }

    #[test]
    fn a_node_that_was_left_is_used_again_and_remembers_nothing() {
        let mut graph = graph(2, [(0, 1)]);
        graph.leave(0);
        assert_eq!(graph.enter("next".into()), 0);
        assert_eq!((graph.degree(0), way(&mut graph, 0, 1)), (0, None));
    }
}
