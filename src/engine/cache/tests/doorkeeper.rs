//! What the doorkeeper remembers.

use super::*;

#[test]
fn the_doorkeeper_knows_recent_hashes_and_those_of_each_caller() {
    let doorkeeper = Doorkeeper::of(32 * 1024);
    assert_eq!(doorkeeper.own.0.len(), 128 * PART);
    let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63;
    let (greedy, other) = (0, 1);
    assert!(!doorkeeper.lets_in(hash(1), greedy));
    assert!(doorkeeper.lets_in(hash(1), greedy));
    assert!(!doorkeeper.lets_in(hash(2), other));
    for number in 3..100_000 {
        doorkeeper.lets_in(hash(number), greedy);
    }
    assert!(!doorkeeper.lets_in(hash(1), greedy), "long ago");
    assert!(doorkeeper.lets_in(hash(2), other), "another's questions");
}
