//! Ingresses: an address is waited for only where their class is opted in; many controllers never write one.

use super::assess::Rules;
use super::status::{list, text};
use super::verdict::Assessment;
use crate::object::{Live, Manifest};

/// An Ingress.
pub fn assess(live: &Live, rules: &Rules<'_>) -> Assessment {
    let class = text(live, "/spec/ingressClassName").or_else(|| live.annotation("kubernetes.io/ingress.class"));
    if rules.waits_for_address(class.unwrap_or_default()) && list(live, "/status/loadBalancer/ingress").is_empty() {
        return Assessment::progressing("waits for an address");
    }
    Assessment::healthy()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use serde_json::json;

    #[test]
    fn only_opted_in_classes_wait() {
        let classes = ["nginx".to_owned()];
        let rules = Rules { wait_for_address: &classes, ..Rules::default() };
        let address = json!({"loadBalancer": {"ingress": [{"hostname": "a.example"}]}});
        for (class, status, health) in [
            ("nginx", json!({}), Health::Progressing),
            ("nginx", address, Health::Healthy),
            ("other", json!({}), Health::Healthy),
        ] {
            let by_field = Live(json!({"spec": {"ingressClassName": class}, "status": status}));
            assert_eq!(assess(&by_field, &rules).health, health);
            let by_annotation =
                Live(json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": class}}, "status": status}));
            assert_eq!(assess(&by_annotation, &rules).health, health);
            assert_eq!(assess(&by_field, &Rules::default()).health, Health::Healthy);
        }
    }
}
