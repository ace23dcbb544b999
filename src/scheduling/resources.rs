//! Amounts of the resources that placement looks at, and what a pod asks for.
//! Source: component-helpers/resource/helpers.go (`PodRequests`).

use crate::object::quantity::Quantity;
use serde_json::Value;

/// What placement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// `cpu`.
    Cpu,
    /// `memory`.
    Memory,
    /// `ephemeral-storage`.
    EphemeralStorage,
    /// `pods`.
    Pods,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::EphemeralStorage, Self::Pods];

    /// The name that Kubernetes has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::EphemeralStorage => "ephemeral-storage",
            Self::Pods => "pods",
        }
    }
}

/// Amounts in thousandths of each resource's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources([i128; 4]);

impl Resources {
    /// Reads a resource list (`{"cpu": "500m", …}`). What is missing or no quantity is 0.
    pub fn from_list(list: &Value) -> Self {
        Self(Resource::ALL.map(|resource| {
            list.get(resource.name()).and_then(Quantity::from_value).map_or(0, |quantity| quantity.milli.max(0))
        }))
    }

    /// What a pod asks of its node: the sum of its containers and sidecars, or what its largest init container needs
    /// while it runs if that is more, and its overhead; and one pod. Limits stand in for missing requests, as the API
    /// server's defaulting has it. Requests at the level of the pod (KEP-2837) win.
    pub fn of_pod(spec: &Value) -> Self {
        let mut running = sum(&spec["containers"]);
        let (mut sidecars, mut initialising) = (Self::default(), Self::default());
        for container in list(&spec["initContainers"]) {
            let requests = of_container(container);
            if container["restartPolicy"] == "Always" {
                sidecars = sidecars.plus(&requests);
                initialising = initialising.most(&sidecars);
            } else {
                initialising = initialising.most(&sidecars.plus(&requests));
            }
        }
        running = running.plus(&sidecars).most(&initialising);
        if spec["resources"]["requests"].is_object() {
            let own = Self::from_list(&spec["resources"]["requests"]);
            for (index, resource) in Resource::ALL.into_iter().enumerate() {
                if spec["resources"]["requests"].get(resource.name()).is_some() {
                    running.0[index] = own.0[index];
                }
            }
        }
        let mut total = running.plus(&Self::from_list(&spec["overhead"]));
        total.0[Resource::Pods as usize] = 1000;
        total
    }

    /// One amount, in thousandths.
    pub fn get(&self, resource: Resource) -> i128 {
        self.0[resource as usize]
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, i128::saturating_add)
    }

    /// The greater of each.
    #[must_use]
    pub fn most(&self, other: &Self) -> Self {
        self.with(other, i128::max)
    }

    fn with(&self, other: &Self, f: fn(i128, i128) -> i128) -> Self {
        let mut result = *self;
        for (mine, theirs) in result.0.iter_mut().zip(other.0) {
            *mine = f(*mine, theirs);
        }
        result
    }

    /// What of `self` (requested) does not fit beside `used` into `supply`. What is not requested always fits.
    pub fn lacking(&self, used: &Self, supply: &Self) -> Vec<Resource> {
        let fits = |r: &Resource| self.get(*r) == 0 || used.get(*r).saturating_add(self.get(*r)) <= supply.get(*r);
        Resource::ALL.into_iter().filter(|resource| !fits(resource)).collect()
    }

    /// The free fraction of each resource that `supply` has, once `self` is used of it.
    pub fn free_fractions(&self, supply: &Self) -> Vec<f64> {
        let supplied = Resource::ALL.into_iter().filter(|resource| supply.get(*resource) > 0);
        supplied.map(|resource| 1.0 - self.get(resource) as f64 / supply.get(resource) as f64).collect()
    }

    /// The allocation ratio of one resource.
    pub fn allocation(&self, supply: &Self, resource: Resource) -> f64 {
        super::score::allocation(self.get(resource) as f64, supply.get(resource) as f64)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn of_container(container: &Value) -> Resources {
    let resources = &container["resources"];
    let requests = Resources::from_list(&resources["requests"]);
    let mut result = Resources::from_list(&resources["limits"]);
    for (index, resource) in Resource::ALL.into_iter().enumerate() {
        if resources["requests"].get(resource.name()).is_some() {
            result.0[index] = requests.0[index];
        }
    }
    result
}

fn sum(containers: &Value) -> Resources {
    list(containers).iter().fold(Resources::default(), |total, container| total.plus(&of_container(container)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cpu(spec: &Value) -> i128 {
        Resources::of_pod(spec).get(Resource::Cpu)
    }

    fn container(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn a_pod_asks_for_the_sum_or_its_largest_init_container() {
        assert_eq!(cpu(&json!({"containers": [container("100m"), container("200m")]})), 300);
        assert_eq!(cpu(&json!({"containers": [container("100m")], "initContainers": [container("1")]})), 1000);
        let mut sidecar = container("50m");
        sidecar["restartPolicy"] = json!("Always");
        assert_eq!(
            cpu(&json!({"containers": [container("100m")], "initContainers": [sidecar, container("80m")]})),
            150
        );
        assert_eq!(cpu(&json!({"containers": [{"resources": {"limits": {"cpu": "2"}}}]})), 2000);
        assert_eq!(cpu(&json!({"containers": [container("1")], "resources": {"requests": {"cpu": "3"}}})), 3000);
        assert_eq!(cpu(&json!({"containers": [container("1")], "overhead": {"cpu": "250m"}})), 1250);
        assert_eq!(Resources::of_pod(&json!({})).get(Resource::Pods), 1000);
    }

    #[test]
    fn what_is_not_asked_for_fits_even_where_nothing_is_left() {
        let supply = Resources::from_list(&json!({"cpu": "1", "memory": "1Gi", "pods": "9"}));
        let used = Resources::from_list(&json!({"cpu": "2", "pods": "1"}));
        let pod = Resources::of_pod(&json!({"containers": [{"resources": {"requests": {"memory": "1Gi"}}}]}));
        assert!(pod.lacking(&used, &supply).is_empty());
        assert_eq!(pod.lacking(&used.plus(&pod), &supply), [Resource::Memory]);
        let greedy = Resources::of_pod(&json!({"containers": [container("1m")]}));
        assert_eq!(greedy.lacking(&used, &supply), [Resource::Cpu]);
    }
}
