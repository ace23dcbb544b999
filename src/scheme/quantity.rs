//! Quantities in canonical form: `1000m` is stored as `1`, `1024Mi` as `1Gi`.
//! Source: k8s.io/apimachinery/pkg/api/resource/quantity.go (`ParseQuantity`, `CanonicalizeBytes`).

/// Go's text for what is no quantity.
pub const ERROR: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Binary,
    Decimal,
    Exponent,
}

/// The canonical text, or `None` if it is no quantity.
pub fn canonical(text: &str) -> Option<String> {
    let text = text.trim();
    if text == "0" {
        return Some("0".into());
    }
    let (nano, format) = parse(text)?;
    Some(print(nano, format))
}

/// Nano-units, rounded up as Go does, and the format of the suffix.
fn parse(text: &str) -> Option<(i128, Format)> {
    let end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && matches!(c, '+' | '-'))))
        .map_or(text.len(), |(i, _)| i);
    let (number, suffix) = text.split_at(end);
    let negative = number.starts_with('-');
    let digits = number.trim_start_matches(['+', '-']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || digits.len() > 28 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, power, format) = suffix_of(suffix)?;
    // value = mantissa * multiplier * 10^(power - fraction digits), in nano-units * 10^9
    let exponent = power - i32::try_from(fraction.len()).ok()? + 9;
    let scaled = mantissa.checked_mul(multiplier)?;
    let nano = if exponent >= 0 {
        scaled.checked_mul(10_i128.checked_pow(exponent.unsigned_abs())?)?
    } else {
        let divisor = 10_i128.checked_pow(exponent.unsigned_abs())?;
        (scaled + divisor - 1) / divisor
    };
    Some((if negative { -nano } else { nano }, format))
}

fn suffix_of(suffix: &str) -> Option<(i128, i32, Format)> {
    Some(match suffix {
        "" => (1, 0, Format::Decimal),
        "n" => (1, -9, Format::Decimal),
        "u" => (1, -6, Format::Decimal),
        "m" => (1, -3, Format::Decimal),
        "k" => (1, 3, Format::Decimal),
        "M" => (1, 6, Format::Decimal),
        "G" => (1, 9, Format::Decimal),
        "T" => (1, 12, Format::Decimal),
        "P" => (1, 15, Format::Decimal),
        "E" => (1, 18, Format::Decimal),
        "Ki" => (1 << 10, 0, Format::Binary),
        "Mi" => (1 << 20, 0, Format::Binary),
        "Gi" => (1 << 30, 0, Format::Binary),
        "Ti" => (1 << 40, 0, Format::Binary),
        "Pi" => (1 << 50, 0, Format::Binary),
        "Ei" => (1 << 60, 0, Format::Binary),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok().filter(|p| (-30..=30).contains(p))?, Format::Exponent),
    })
}

fn print(nano: i128, mut format: Format) -> String {
    const NANO: i128 = 1_000_000_000;
    if nano == 0 {
        return "0".into();
    }
    if format == Format::Binary {
        if nano % NANO != 0 || (nano / NANO).abs() < 1024 {
            format = Format::Decimal;
        } else {
            let (mut value, mut steps) = (nano / NANO, 0);
            while value % 1024 == 0 && steps < 6 {
                value /= 1024;
                steps += 1;
            }
            return format!("{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][steps]);
        }
    }
    let (mut value, mut exponent) = (nano, -9);
    while value % 1000 == 0 && exponent < 18 {
        value /= 1000;
        exponent += 3;
    }
    if format == Format::Exponent {
        return if exponent == 0 { value.to_string() } else { format!("{value}e{exponent}") };
    }
    let suffix = match exponent {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => "",
    };
    format!("{value}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (from, to) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1024", "1024"),
            ("1000", "1k"),
            ("0.1Gi", "107374182400m"),
            ("1e3", "1e3"),
            ("100Mi", "100Mi"),
            ("0.5Ki", "512"),
            ("1e-3", "1e-3"),
            ("12e6", "12e6"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1", "-1"),
            ("1500m", "1500m"),
        ] {
            assert_eq!(canonical(from).as_deref(), Some(to), "{from}");
        }
        for bad in ["", "x", "1x", "1.2.3", "--1", "Gi", "1 Gi"] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }
}
