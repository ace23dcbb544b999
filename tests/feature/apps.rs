//! Several apps of one repository: what they need of each other, and what is refused about them.

use super::scratch::Scratch;
use crate::on_every_cluster;

fn config(app: &Scratch, apps: &str) {
    let kubeconfig = app.kubeconfig_with("own", |_| {});
    app.write("driftless.toml", &format!("[[cluster]]\nname = \"default\"\nkubeconfig = \"{kubeconfig}\"\n{apps}"));
}

fn definition(group: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: gadgets.{group}}}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: gadgets, singular: gadget, kind: Gadget}}\n  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}]\n"
    )
}

on_every_cluster! {
    /// A kind, and a namespace, that another app brings: it comes first, though nobody says so, and the plan knows.
    fn what_another_app_brings_comes_first(cluster) {
        let app = Scratch::new(cluster, "brings");
        let ns = app.namespace.clone();
        let group = format!("{ns}.example.org");
        app.write("a/gadget.yaml", &format!("apiVersion: {group}/v1\nkind: Gadget\nmetadata: {{name: g, namespace: {ns}-x}}\nspec: {{a: 1}}\n"));
        app.write("b/crd.yaml", &definition(&group));
        app.write("c/ns.yaml", &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}-x}}\n"));
        app.commit("one");
        app.run("plan").exits(2).says("Plan: 3 to create");
        app.run("sync").exits(0);
        app.run("plan").exits(0);
        assert!(cluster.has(&format!("{ns}-x"), &format!("gadgets.{group}/g")));
    }

    /// Circles and names that are not there are errors, also where a pattern stands for the apps.
    fn dependencies_are_checked(cluster) {
        let app = Scratch::new(cluster, "circles");
        app.config_map("g/a/x.yaml", "a", "1").config_map("top/x.yaml", "top", "1");
        config(&app, "[[app]]\nglob = \"g/*\"\ndepends_on = [\"top\"]\n[[app]]\npath = \"top\"\ndepends_on = [\"g-a\"]\n");
        app.commit("one");
        app.run("plan").exits(1).says("these apps wait for each other: g-a → top → g-a");
        config(&app, "[[app]]\nglob = \"g/*\"\n[[app]]\npath = \"top\"\ndepends_on = [\"nobody\"]\n");
        app.commit("two");
        app.run("check").exits(1).says("depends on \"nobody\"");
    }

    /// A pattern or a path that leads nowhere deletes nothing and is no success.
    fn wrong_places_are_refused(cluster) {
        let app = Scratch::new(cluster, "places");
        let ns = app.namespace.clone();
        app.config_map("teams/red/x.yaml", "red", "1").config_map("other/x.yaml", "other", "1");
        config(&app, "[[app]]\nglob = \"teams/*\"\n[[app]]\npath = \"other\"\n");
        app.commit("one");
        app.run("sync").exits(0);
        config(&app, "[[app]]\nglob = \"team/*\"\n[[app]]\npath = \"other\"\n");
        app.commit("two");
        app.run("sync").exits(1).says("matches no directory");
        assert!(cluster.has(&ns, "configmap/red"));
        app.remove("driftless.toml").write("docs/README", "hello").commit("three");
        for command in ["check", "plan", "sync"] {
            app.run(&format!("{command} --path docs")).exits(1).says("no app was found");
        }
    }

    /// What is asked for and not there yet is an error, never silence.
    fn unsupported_settings_are_refused(cluster) {
        let app = Scratch::new(cluster, "unsupported");
        app.config_map("a/x.yaml", "a", "1");
        for (setting, words) in [
            ("[[repository]]\nname = \"main\"\nurl = \".\"\nverify = {allowed_signers = \"/nope\"}\n", "cannot be verified yet"),
            ("[[repository]]\nname = \"main\"\nurl = \"https://github.com/acme\"\n[[report]]\nkind = \"github\"\ntoken_env = \"T\"\n", "no repository of GitHub"),
        ] {
            config(&app, setting);
            app.commit("one");
            app.run("sync").exits(1).says(words);
        }
    }

    /// The controller's rules of an aggregated role stay.
    fn an_aggregated_role_keeps_its_rules(cluster) {
        let app = Scratch::new(cluster, "aggregate");
        let ns = app.namespace.clone();
        app.write("a/x.yaml", &format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {ns}-all}}\naggregationRule: {{clusterRoleSelectors: [{{matchLabels: {{{ns}: \"true\"}}}}]}}\nrules: []\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {ns}-part, labels: {{{ns}: \"true\"}}}}\nrules: [{{apiGroups: [\"\"], resources: [services], verbs: [get]}}]\n"
        )).commit("one");
        app.run("sync").exits(0);
        let rules = || cluster.object(&ns, &format!("clusterrole/{ns}-all"))["rules"].clone();
        if cluster.plane.is_some() {
            cluster.eventually("the rules to be filled in", || rules().as_array().is_some_and(|rules| !rules.is_empty()));
        }
        let before = rules();
        app.run("plan").exits(0);
        app.run("sync").exits(0);
        assert_eq!(rules(), before);
        cluster.kubectl(&format!("delete clusterrole {ns}-all {ns}-part"));
    }

    /// A directory whose files say nothing any more is no order to delete its app; without the directory it is one.
    fn an_emptied_app_is_kept(cluster) {
        let app = Scratch::new(cluster, "emptied");
        let ns = app.namespace.clone();
        app.config_map("web/x.yaml", "web", "1").config_map("other/x.yaml", "other", "1").commit("one");
        app.run("sync").exits(0);
        for (text, code) in [("", 4), ("# all of it\n", 4), ("apiversion: v1\nkind: ConfigMap\nmetadata: {name: web}\n", 1), ("\0GITCRYPT\0", 1)] {
            app.write("web/x.yaml", text).commit("broken");
            app.run("sync").exits(code);
            assert!(cluster.has(&ns, "configmap/web"), "{text:?}");
        }
        app.remove("web").commit("gone");
        app.run("sync").exits(0);
        assert!(!cluster.has(&ns, "configmap/web"));
    }

}
