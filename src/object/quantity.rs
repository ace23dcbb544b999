//! Kubernetes quantities (`100m`, `1.5Gi`, `2e3`) as exact numbers.
//! Source: k8s.io/apimachinery/pkg/api/resource/quantity.go.

use serde_json::Value;
use std::fmt;

/// A quantity in thousandths of its unit (milli-cores, milli-bytes), rounded up as the scheduler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Quantity {
    /// Thousandths.
    pub milli: i128,
}

impl Quantity {
    /// Parses the text form; `None` if it is no quantity.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let number_end = text
            .char_indices()
            .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && (*c == '-' || *c == '+'))))
            .map_or(text.len(), |(i, _)| i);
        let (number, suffix) = text.split_at(number_end);
        let (numerator, denominator) = decimal(number)?;
        let (multiplier, divisor) = suffix_factor(suffix)?;
        let top = numerator.checked_mul(1000)?.checked_mul(multiplier)?;
        let bottom = denominator.checked_mul(divisor)?;
        // Quantities round up, away from zero (RoundUp in quantity.go): half a milli-core asks for one.
        let rounded = if top >= 0 { (top + bottom - 1) / bottom } else { -((-top + bottom - 1) / bottom) };
        Some(Self { milli: rounded })
    }

    /// Parses a JSON string or number.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(n) => Self::parse(&n.to_string()),
            _ => None,
        }
    }

    /// As a float, in units.
    pub fn as_f64(self) -> f64 {
        self.milli as f64 / 1000.0
    }
}

/// The shortest exact form: `2`, `1500m`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli % 1000 == 0 { write!(f, "{}", self.milli / 1000) } else { write!(f, "{}m", self.milli) }
    }
}

fn decimal(number: &str) -> Option<(i128, i128)> {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || digits.len() > 30 {
        return None;
    }
    let joined: i128 = format!("{whole}{fraction}").parse().ok()?;
    let denominator = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some((if negative { -joined } else { joined }, denominator))
}

fn suffix_factor(suffix: &str) -> Option<(i128, i128)> {
    const K: i128 = 1000;
    const KI: i128 = 1024;
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, K * K * K),
        "u" => (1, K * K),
        "m" => (1, K),
        "k" => (K, 1),
        "M" => (K * K, 1),
        "G" => (K * K * K, 1),
        "T" => (K * K * K * K, 1),
        "P" => (K * K * K * K * K, 1),
        "E" => (K * K * K * K * K * K, 1),
        "Ki" => (KI, 1),
        "Mi" => (KI * KI, 1),
        "Gi" => (KI * KI * KI, 1),
        "Ti" => (KI * KI * KI * KI, 1),
        "Pi" => (KI * KI * KI * KI * KI, 1),
        "Ei" => (KI * KI * KI * KI * KI * KI, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent >= 0 { (power, 1) } else { (1, power) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, milli) in [
            ("1", 1000),
            ("1000m", 1000),
            ("100m", 100),
            ("0.5", 500),
            (".5", 500),
            ("1.5Gi", 1_610_612_736_000),
            ("2e3", 2_000_000),
            ("1k", 1_000_000),
            ("128Mi", 134_217_728_000),
            ("1n", 1),
            ("-1", -1000),
            ("1e-3", 1),
        ] {
            let quantity = Quantity::parse(text);
            assert_eq!(quantity.map(|q| q.milli), Some(milli), "{text}");
            assert_eq!(quantity.and_then(|q| Quantity::parse(&q.to_string())), quantity, "{text}");
        }
        for bad in ["", "x", "1x", "1.2.3", "--1", "Gi"] {
            assert_eq!(Quantity::parse(bad), None, "{bad}");
        }
    }
}
