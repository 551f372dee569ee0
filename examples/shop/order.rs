//! What a customer may ask for: reading it, and saying what is wrong with it.

use serde::{Deserialize, Serialize};

/// Bytes of one order at most, over HTTP or in a line of a file.
pub(crate) const BODY_MAX: usize = 4_096;
const QUANTITY_MAX: i64 = 1_000;
const CENTS_MAX: i64 = 100_000_000;
const SKU_MAX: usize = 64;

/// An order as it comes in, not yet looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) cents: i64,
}

/// Reads one order and looks at it; the error is meant for whoever sent it.
pub(crate) fn parse(json: &[u8]) -> Result<NewOrder, String> {
    if json.len() > BODY_MAX {
        return Err(format!("longer than {BODY_MAX} bytes"));
    }
    let order: NewOrder =
        serde_json::from_slice(json).map_err(|error| format!("not an order: {error}"))?;
    check(&order)?;
    Ok(order)
}

fn check(order: &NewOrder) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if order.sku.is_empty() || order.sku.len() > SKU_MAX || !order.sku.chars().all(plain) {
        return Err(format!(
            "sku must be 1 to {SKU_MAX} letters, digits, - or _"
        ));
    }
    within("quantity", order.quantity, QUANTITY_MAX)?;
    within("cents", order.cents, CENTS_MAX)
}

fn within(name: &str, value: i64, most: i64) -> Result<(), String> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} must be from 1 to {most}, and is {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(json: &str) -> String {
        parse(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_good_order_is_read() {
        let order = parse(br#"{"sku":"tea-1","quantity":2,"cents":500}"#).unwrap();
        assert_eq!((order.quantity, order.cents), (2, 500));
    }

    #[test]
    fn a_bad_order_is_told_what_is_wrong() {
        assert!(wrong("{").starts_with("not an order: EOF"));
        assert!(wrong(r#"{"sku":"a","quantity":1,"cents":1,"x":1}"#).contains("unknown field `x`"));
        assert!(wrong(r#"{"sku":"a","quantity":1}"#).contains("missing field `cents`"));
        for quantity in [0, -1, 1_001, i64::MAX] {
            let json = format!(r#"{{"sku":"a","quantity":{quantity},"cents":1}}"#);
            assert!(wrong(&json).ends_with(&format!("and is {quantity}")));
        }
        assert!(wrong(r#"{"sku":"","quantity":1,"cents":1}"#).starts_with("sku must be"));
        assert!(wrong(&"x".repeat(BODY_MAX + 1)).starts_with("longer than"));
    }
}
