//! Cases that an apply engine has to pass, by their numbers: what the peers' users suffered.

use super::scratch::Scratch;
use crate::on_every_cluster;

fn quota(most: u32) -> String {
    format!("apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: q}}\nspec: {{hard: {{services: \"{most}\"}}}}\n")
}

fn service(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: x}}, ports: [{{port: 80{more}}}]}}\n"
    )
}

on_every_cluster! {
    /// A field that a CRD gains, and a resource that uses it, in one commit: one sync.
    fn case_04_a_definition_that_changes_with_its_resource(cluster) {
        let app = Scratch::new(cluster, "newfield");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        let definition = |fields: &str| format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: things, singular: thing, kind: Thing}}\n  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: {{{fields}}}}}}}}}}}}}]\n"
        );
        let resource = |fields: &str| format!("apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: t}}\nspec: {{{fields}}}\n");
        app.write("a/crd.yaml", &definition("a: {type: string}")).write("a/t.yaml", &resource("a: x")).commit("one");
        app.run("sync").exits(0);
        app.write("a/crd.yaml", &definition("a: {type: string}, b: {type: string}")).write("a/t.yaml", &resource("a: x, b: two"));
        app.commit("two");
        app.run("sync").exits(0);
        assert_eq!(cluster.object(&ns, &format!("things.{group}/t"))["spec"]["b"], "two");
        app.run("plan").exits(0);
    }

    /// A full quota: what goes makes room for what comes, and a quota that is raised is raised first.
    fn case_24_a_full_quota_does_not_deadlock(cluster) {
        let app = Scratch::new(cluster, "quota");
        let ns = app.namespace.clone();
        app.write("a/q.yaml", &quota(2)).write("a/a.yaml", &service("a", "")).write("a/b.yaml", &service("b", "")).commit("one");
        app.run("sync").exits(0);
        cluster.eventually("the quota to be counted", || cluster.object(&ns, "resourcequota/q")["status"]["used"]["services"] == "2");
        app.remove("a/b.yaml").write("a/c.yaml", &service("c", "")).commit("two");
        app.run("sync").exits(0);
        assert!(cluster.has(&ns, "service/c") && !cluster.has(&ns, "service/b"));
        cluster.eventually("the quota to be counted", || cluster.object(&ns, "resourcequota/q")["status"]["used"]["services"] == "2");
        app.write("a/q.yaml", &quota(3)).write("a/d.yaml", &service("d", "")).commit("three");
        app.run("sync").exits(0);
        assert!(cluster.has(&ns, "service/d"));
    }

    /// A node port that goes from one Service to another in one commit, several times over.
    fn case_24_a_node_port_changes_hands(cluster) {
        let app = Scratch::new(cluster, "nodeport");
        let port = if cluster.plane.is_some() { 32_101 } else { 32_102 };
        let with_port = |name: &str| service(name, &format!(", nodePort: {port}")).replace("spec: {", "spec: {type: NodePort, ");
        app.write("a/s.yaml", &with_port("s0")).commit("one");
        app.run("sync").exits(0);
        for name in ["s1", "s2", "s3", "s4"] {
            app.write("a/s.yaml", &with_port(name)).commit("next");
            app.run("sync").exits(0);
            assert!(cluster.has(&app.namespace, &format!("service/{name}")));
        }
    }
}
