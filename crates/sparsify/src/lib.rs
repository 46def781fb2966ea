//! Structural pruning: dependency graph, importance, plan and surgery.
