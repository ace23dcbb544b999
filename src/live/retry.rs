//! Which failures are worth another try, and after how long. Pure.

use super::client::ApiError;
use std::time::Duration;

/// Tries after the first one.
pub const ATTEMPTS: u32 = 8;
/// A server that asks for a longer pause than this is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pause before try number `attempt + 1` (from 0), or `None` if trying again is pointless. `jitter` in 0..1.
///
/// Resets, time-outs, 429 and 5xx pass; conflicts, rejections and denials do not. A 500 that names a typed patch is a
/// rejection in disguise.
pub fn pause_after(error: &ApiError, attempt: u32, jitter: f64) -> Option<Duration> {
    if attempt >= ATTEMPTS || !may_pass(error) {
        return None;
    }
    let grown = Duration::from_millis(100).saturating_mul(1 << attempt.min(6));
    let pause = grown.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    match error {
        ApiError::Status { retry_after: Some(asked), .. } if *asked > LONGEST_PAUSE => None,
        ApiError::Status { retry_after: Some(asked), .. } => Some(pause.max(*asked)),
        _ => Some(pause),
    }
}

fn may_pass(error: &ApiError) -> bool {
    match error {
        ApiError::Status { code: 500, message, .. } => !is_typed_patch_rejection(message),
        ApiError::Status { code, .. } => matches!(code, 408 | 429 | 502 | 503 | 504),
        ApiError::Unreachable { .. } | ApiError::Timeout { .. } => true,
        ApiError::BadAnswer { .. } | ApiError::Config(_) => false,
    }
}

/// The API server answers 500 where a server-side apply body does not fit the schema
/// (k8s.io/apimachinery/pkg/util/managedfields/internal/structuredmerge.go).
pub fn is_typed_patch_rejection(message: &str) -> bool {
    message.contains("failed to create typed patch object") || message.contains("failed to convert new object")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str, retry_after: Option<u64>) -> ApiError {
        ApiError::Status {
            code,
            reason: String::new(),
            message: message.into(),
            causes: vec![],
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn table() {
        let ms = |error: &ApiError, attempt| pause_after(error, attempt, 1.0).map(|p| p.as_millis());
        assert_eq!(ms(&status(503, "", None), 0), Some(100));
        assert_eq!(ms(&status(503, "", None), 3), Some(800));
        assert_eq!(ms(&status(429, "", Some(2)), 0), Some(2000));
        assert_eq!(ms(&status(429, "", Some(3600)), 0), None);
        assert_eq!(ms(&status(409, "", None), 0), None);
        assert_eq!(ms(&status(422, "", None), 0), None);
        assert_eq!(ms(&status(500, "failed to create typed patch object: x", None), 0), None);
        assert_eq!(ms(&status(500, "etcd leader changed", None), 0), Some(100));
        assert_eq!(ms(&status(503, "", None), ATTEMPTS), None);
    }
}
