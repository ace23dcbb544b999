//! Rollouts in virtual time.

use super::super::kind::{DEPLOYMENT, NAMESPACE, POD, REPLICA_SET};
use super::super::meta::{annotation, int, is_deleting, items, name, text};
use super::super::pods;
use crate::cluster::simulation::{Objects, Simulation, deployment};
use crate::cluster::view::{View, Write};
use proptest::prelude::*;
use serde_json::{Value, json};

fn available(objects: &Objects) -> i64 {
    let pods = objects.list(&POD, Some("shop"));
    i64::try_from(pods.iter().filter(|p| !is_deleting(p) && pods::is_ready(p)).count()).unwrap()
}

fn rolled_out(replicas: i64, surge: &Value, unavailable: &Value) -> Simulation {
    let mut cluster = Simulation::new();
    cluster.create(deployment(replicas, surge, unavailable));
    cluster.run(2000);
    assert_eq!(available(&cluster.objects), replicas);
    cluster
}

fn set_image(cluster: &mut Simulation, image: &str) {
    let container =
        json!([{"name": "main", "image": image, "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]);
    cluster.patch(&DEPLOYMENT, "web", json!({"spec": {"template": {"spec": {"containers": container}}}}));
}

fn images(cluster: &Simulation) -> Vec<String> {
    let mut images: Vec<String> = cluster
        .list(&POD)
        .iter()
        .filter(|pod| !is_deleting(pod))
        .map(|pod| text(&pod["spec"]["containers"][0]["image"]).to_owned())
        .collect();
    images.sort();
    images
}

#[test]
fn it_becomes_available_and_says_so() {
    let cluster = rolled_out(3, &json!(1), &json!(0));
    let web = cluster.get(&DEPLOYMENT, "web").unwrap();
    let status = &web["status"];
    for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        assert_eq!(status[field], 3, "{field}");
    }
    assert_eq!(status["observedGeneration"], 1);
    assert!(status["unavailableReplicas"].is_null());
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Progressing"), "NewReplicaSetAvailable");
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Available"), "MinimumReplicasAvailable");
    assert_eq!(annotation(&web, "deployment.kubernetes.io/revision"), Some("1"));
    let nodes: std::collections::BTreeSet<String> =
        cluster.list(&POD).iter().map(|pod| text(&pod["spec"]["nodeName"]).to_owned()).collect();
    assert_eq!(nodes.len(), 3, "spread over the nodes");
}

#[test]
fn a_roll_back_finds_the_old_replica_set_and_counts_on() {
    let mut cluster = rolled_out(2, &json!(1), &json!(0));
    set_image(&mut cluster, "web:2");
    cluster.run(5000);
    assert_eq!(images(&cluster), ["web:2", "web:2"]);
    set_image(&mut cluster, "web:1");
    cluster.run(5000);
    assert_eq!(images(&cluster), ["web:1", "web:1"]);
    assert_eq!(cluster.list(&REPLICA_SET).len(), 2);
    let web = cluster.get(&DEPLOYMENT, "web").unwrap();
    assert_eq!(annotation(&web, "deployment.kubernetes.io/revision"), Some("3"));
    let sets = cluster.list(&REPLICA_SET);
    let histories: Vec<_> =
        sets.iter().filter_map(|set| annotation(set, "deployment.kubernetes.io/revision-history")).collect();
    assert_eq!(histories, ["1"]);
}

#[test]
fn a_bad_image_stalls_without_taking_the_old_pods() {
    let mut cluster = rolled_out(3, &json!(1), &json!(0));
    set_image(&mut cluster, "web:bad");
    cluster.run_watching(30_000, |objects| assert!(available(objects) >= 3));
    assert_eq!(images(&cluster), ["web:1", "web:1", "web:1", "web:bad"]);
    let bad = cluster.list(&POD).into_iter().find(|p| p["spec"]["containers"][0]["image"] == "web:bad").unwrap();
    assert_eq!(bad["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "ImagePullBackOff");
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Progressing"), "ReplicaSetUpdated");
    cluster.run(60_000);
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Progressing"), "ProgressDeadlineExceeded");
    set_image(&mut cluster, "web:3");
    cluster.run(5000);
    assert_eq!(images(&cluster), ["web:3", "web:3", "web:3"]);
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Progressing"), "NewReplicaSetAvailable");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let mut cluster = rolled_out(10, &json!(3), &json!(2));
    set_image(&mut cluster, "web:bad");
    cluster.run(2000);
    let sizes = |cluster: &Simulation| {
        let mut sizes: Vec<i64> = cluster.list(&REPLICA_SET).iter().map(|set| int(&set["spec"]["replicas"])).collect();
        sizes.sort_unstable();
        sizes
    };
    // The example of the documentation: 8 old and 5 new, then 15 replicas make 18 with the surge.
    assert_eq!(sizes(&cluster), [5, 8]);
    cluster.patch(&DEPLOYMENT, "web", json!({"spec": {"replicas": 15}}));
    cluster.run(2000);
    assert_eq!(sizes(&cluster), [7, 11]);
}

#[test]
fn recreate_has_no_two_versions_at_once() {
    let mut cluster = Simulation::new();
    let mut web = deployment(3, &json!(1), &json!(0));
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create(web);
    cluster.run(2000);
    set_image(&mut cluster, "web:2");
    cluster.run_watching(5000, |objects| {
        let pods = objects.list(&POD, Some("shop"));
        let mut versions: Vec<_> = pods.iter().map(|p| text(&p["spec"]["containers"][0]["image"])).collect();
        versions.sort_unstable();
        versions.dedup();
        assert!(versions.len() <= 1, "{versions:?}");
    });
    assert_eq!(images(&cluster), ["web:2", "web:2", "web:2"]);
}

#[test]
fn paused_it_scales_but_does_not_roll() {
    let mut cluster = rolled_out(2, &json!(1), &json!(0));
    cluster.patch(&DEPLOYMENT, "web", json!({"spec": {"paused": true}}));
    set_image(&mut cluster, "web:2");
    cluster.patch(&DEPLOYMENT, "web", json!({"spec": {"replicas": 4}}));
    cluster.run(100_000);
    assert_eq!(images(&cluster), ["web:1"; 4]);
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Progressing"), "DeploymentPaused");
    cluster.patch(&DEPLOYMENT, "web", json!({"spec": {"paused": false}}));
    cluster.run(10_000);
    assert_eq!(images(&cluster), ["web:2"; 4]);
}

#[test]
fn what_a_quota_refuses_is_a_replica_failure() {
    let mut cluster = Simulation::new();
    cluster.objects.most_pods.set(2);
    cluster.create(deployment(3, &json!(1), &json!(0)));
    cluster.run(5000);
    assert_eq!(available(&cluster.objects), 2);
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "ReplicaFailure"), "FailedCreate");
    cluster.objects.most_pods.set(9);
    cluster.run(120_000);
    assert_eq!(available(&cluster.objects), 3);
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "ReplicaFailure"), "");
}

#[test]
fn min_ready_seconds_hold_the_next_pod_back() {
    let mut cluster = Simulation::new();
    let mut web = deployment(2, &json!(1), &json!(0));
    web["spec"]["minReadySeconds"] = json!(5);
    cluster.create(web);
    cluster.run(3000);
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Available"), "MinimumReplicasUnavailable");
    cluster.run(4000);
    assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Available"), "MinimumReplicasAvailable");
}

#[test]
fn old_replica_sets_beyond_the_limit_go() {
    let mut cluster = Simulation::new();
    let mut web = deployment(1, &json!(1), &json!(0));
    web["spec"]["revisionHistoryLimit"] = json!(1);
    cluster.create(web);
    for version in 1..5 {
        set_image(&mut cluster, &format!("web:{version}"));
        cluster.run(3000);
    }
    assert_eq!(cluster.list(&REPLICA_SET).len(), 2);
}

#[test]
fn deleting_it_deletes_everything_below() {
    for propagation in ["Background", "Foreground"] {
        let mut cluster = rolled_out(2, &json!(1), &json!(0));
        cluster.delete(&DEPLOYMENT, "web", propagation);
        cluster.settle();
        assert_eq!(cluster.get(&DEPLOYMENT, "web").is_some(), propagation == "Foreground");
        cluster.run(2000);
        assert!(cluster.get(&DEPLOYMENT, "web").is_none(), "{propagation}");
        assert_eq!((cluster.list(&REPLICA_SET).len(), cluster.list(&POD).len()), (0, 0), "{propagation}");
    }
    let mut cluster = rolled_out(2, &json!(1), &json!(0));
    cluster.delete(&DEPLOYMENT, "web", "Orphan");
    cluster.run(2000);
    assert!(cluster.get(&DEPLOYMENT, "web").is_none());
    assert_eq!((cluster.list(&REPLICA_SET).len(), cluster.list(&POD).len()), (1, 2));
    let set = &cluster.list(&REPLICA_SET)[0];
    assert!(items(&set["metadata"]["ownerReferences"]).is_empty());
}

#[test]
fn a_namespace_ends_with_all_it_holds() {
    let mut cluster = rolled_out(2, &json!(1), &json!(0));
    cluster.delete(&NAMESPACE, "shop", "Background");
    cluster.settle();
    assert_eq!(cluster.get(&NAMESPACE, "shop").unwrap()["status"]["phase"], "Terminating");
    cluster.run(3000);
    assert!(cluster.get(&NAMESPACE, "shop").is_none());
    assert!(cluster.objects.kinds().iter().all(|kind| cluster.list(kind).is_empty()));
}

#[test]
fn a_relabelled_pod_is_let_go_and_replaced() {
    let mut cluster = rolled_out(2, &json!(1), &json!(0));
    let pod = name(&cluster.list(&POD)[0]).to_owned();
    cluster.patch(&POD, &pod, json!({"metadata": {"labels": {"app": "debug"}}}));
    cluster.run(2000);
    assert_eq!(cluster.list(&POD).len(), 3);
    assert!(super::super::meta::controller(&cluster.get(&POD, &pod).unwrap()).is_none());
}

#[test]
fn nothing_is_written_where_nothing_changes() {
    let mut cluster = rolled_out(3, &json!(1), &json!(0));
    cluster.objects.log.borrow_mut().clear();
    cluster.run(240_000);
    let log = cluster.objects.log.borrow();
    let others: Vec<_> =
        log.iter().filter(|(_, write)| !matches!(write, Write::MergePatch { gk, .. } if gk.kind == "Lease")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(log.len(), 3 * 24);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The promise of a rolling update: never fewer than `replicas - maxUnavailable` available, never more pods than
    /// `replicas + maxSurge`, and it ends.
    #[test]
    fn a_rollout_keeps_its_promise(
        replicas in 1i64..9, surge in 0i64..4, unavailable in 0i64..4, percent in any::<bool>(), ready_after in 0i64..3,
    ) {
        let bound = |n: i64| if percent { json!(format!("{}%", n * 25)) } else { json!(n) };
        let mut cluster = rolled_out(replicas, &bound(surge), &bound(unavailable));
        let surge = if percent { (replicas * surge * 25 + 99) / 100 } else { surge };
        let unavailable = if percent { replicas * unavailable * 25 / 100 } else { unavailable };
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        cluster.patch(&DEPLOYMENT, "web", json!({"spec": {"template": {"metadata": {"annotations":
            {"sim.driftless.dev/ready-after": format!("{ready_after}s")}}}}}));
        set_image(&mut cluster, "web:2");
        cluster.objects.extremes.set(Some((replicas, replicas)));
        cluster.run(60_000);
        // Judged after every single write, not only where things have come to rest.
        let (fewest, most) = cluster.objects.extremes.get().unwrap_or_default();
        prop_assert!(fewest >= replicas - unavailable, "{fewest} available");
        prop_assert!(most <= replicas + surge, "{most} pods");
        prop_assert_eq!(images(&cluster), vec!["web:2"; usize::try_from(replicas).unwrap()]);
        prop_assert_eq!(cluster.reason(&DEPLOYMENT, "web", "Progressing"), "NewReplicaSetAvailable");
    }
}
