#!/usr/bin/env python3
"""Writes types.txt: the types of the built-in kinds, as the embedded API server needs them.

In:  a Kubernetes source tree (k8s.io/kubernetes, its api/openapi-spec/v3) and the Go types beside it (k8s.io/api,
     k8s.io/apimachinery, k8s.io/apiextensions-apiserver, k8s.io/kube-aggregator of the same release).
     generate.py KUBERNETES_DIR API_DIR APIMACHINERY_DIR APIEXTENSIONS_DIR AGGREGATOR_DIR > types.txt
Out: one line per type and one per field; the grammar is at the head of the output.

The OpenAPI documents know list types, map keys, patch strategies and defaults. They do not know which zero values Go
drops when it writes JSON (`omitempty` on a value, not on a pointer), nor the field numbers of the protobuf form, which
kubectl sends; both are read from the Go sources.
"""
import json, os, re, sys

KUBERNETES, API, MACHINERY, EXTENSIONS, AGGREGATOR = sys.argv[1:6]
GROUPS = """api__v1 apis__apps__v1 apis__batch__v1 apis__autoscaling__v1 apis__autoscaling__v2 apis__policy__v1
apis__networking.k8s.io__v1 apis__rbac.authorization.k8s.io__v1 apis__scheduling.k8s.io__v1 apis__storage.k8s.io__v1
apis__discovery.k8s.io__v1 apis__coordination.k8s.io__v1 apis__events.k8s.io__v1 apis__apiextensions.k8s.io__v1
apis__admissionregistration.k8s.io__v1 apis__apiregistration.k8s.io__v1 apis__authorization.k8s.io__v1
apis__authentication.k8s.io__v1""".split()
ROOTS = """core.v1.Namespace core.v1.Pod core.v1.Service core.v1.Endpoints core.v1.ConfigMap core.v1.Secret
core.v1.ServiceAccount core.v1.Node core.v1.Event core.v1.PersistentVolume core.v1.PersistentVolumeClaim
core.v1.ResourceQuota core.v1.LimitRange core.v1.Binding core.v1.PodTemplate core.v1.ReplicationController
apps.v1.Deployment apps.v1.ReplicaSet apps.v1.StatefulSet
apps.v1.DaemonSet apps.v1.ControllerRevision batch.v1.Job batch.v1.CronJob autoscaling.v1.HorizontalPodAutoscaler
autoscaling.v1.Scale autoscaling.v2.HorizontalPodAutoscaler policy.v1.PodDisruptionBudget policy.v1.Eviction
networking.v1.Ingress networking.v1.NetworkPolicy networking.v1.IngressClass rbac.v1.Role rbac.v1.RoleBinding
rbac.v1.ClusterRole rbac.v1.ClusterRoleBinding scheduling.v1.PriorityClass storage.v1.StorageClass
storage.v1.CSIDriver storage.v1.CSINode storage.v1.VolumeAttachment storage.v1.CSIStorageCapacity
discovery.v1.EndpointSlice coordination.v1.Lease events.v1.Event apiextensions.v1.CustomResourceDefinition
admissionregistration.v1.ValidatingWebhookConfiguration admissionregistration.v1.MutatingWebhookConfiguration
admissionregistration.v1.ValidatingAdmissionPolicy admissionregistration.v1.ValidatingAdmissionPolicyBinding
admissionregistration.v1.MutatingAdmissionPolicy admissionregistration.v1.MutatingAdmissionPolicyBinding
apiregistration.v1.APIService meta.v1.DeleteOptions meta.v1.Status meta.v1.ObjectMeta
authorization.v1.SelfSubjectAccessReview authorization.v1.SelfSubjectRulesReview authentication.v1.SelfSubjectReview""".split()
PREFIXES = [
    ("io.k8s.apimachinery.pkg.apis.meta.", "meta."),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.", "apiextensions."),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.", "apiregistration."),
    ("io.k8s.api.", ""),
]
SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "raw",
}

schemas = {}
for group in GROUPS:
    with open(f"{KUBERNETES}/api/openapi-spec/v3/{group}_openapi.json") as f:
        schemas.update(json.load(f)["components"]["schemas"])

def short(name):
    for prefix, instead in PREFIXES:
        if name.startswith(prefix):
            return instead + name[len(prefix):]
    return name

def go_fields():
    """{type: {field: (go type, omitempty)}} from every types.go."""
    found = {}
    places = [(API, "", "k8s.io/api"), (f"{MACHINERY}/pkg/apis/meta", "meta.", ""),
              (f"{EXTENSIONS}/pkg/apis/apiextensions", "apiextensions.", ""),
              (f"{AGGREGATOR}/pkg/apis/apiregistration", "apiregistration.", "")]
    for root, prefix, _ in places:
        for folder, _, files in os.walk(root):
            for file in files:
                if not (file.startswith("types") and file.endswith(".go")):
                    continue
                relative = os.path.relpath(folder, root)
                package = prefix + relative.replace("/", ".") if relative != "." else prefix.rstrip(".")
                text = open(os.path.join(folder, file)).read()
                for match in re.finditer(r"^type (\w+) struct \{\n(.*?)^\}", text, re.M | re.S):
                    fields = {}
                    for line in match.group(2).splitlines():
                        field = re.match(r"\s+(?:(\w+)\s+)?([\w\.\*\[\]]+)\s+`.*?json:\"([^\"]*)\"", line)
                        if not field:
                            continue
                        proto = re.search(r'protobuf:"\w+,(\d+)', line)
                        number = proto.group(1) if proto else None
                        name, *options = field.group(3).split(",")
                        if "inline" in options or (name == "" and field.group(1) is None):
                            inner = f"{package}.{field.group(2).split('.')[-1]}"
                            fields.setdefault("<inline>", []).append((inner, number))
                            continue
                        fields[name] = (field.group(2), set(options), number)
                    found[f"{package}.{match.group(1)}"] = fields
    return found

GO = go_fields()

def go_field(type_name, field):
    fields = GO.get(type_name)
    if fields is None:
        return None
    if field in fields:
        return fields[field]
    for inline, number in fields.get("<inline>", []):
        found = go_field(inline, field)
        if found:
            go_type, options, inner = found
            return go_type, options, f"{number}.{inner}" if number and inner else None
    return None

queue, done = [], {}

def reference(schema):
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if len(schema.get("allOf", [])) == 1 and "$ref" in schema["allOf"][0]:
        return schema["allOf"][0]["$ref"].rsplit("/", 1)[1]
    return None

def type_text(schema):
    ref = reference(schema)
    if ref:
        if ref in SCALARS:
            return SCALARS[ref]
        target = schemas[ref]
        if "type" not in target:
            return "any"
        if target["type"] == "object" and "properties" not in target and "additionalProperties" not in target:
            return "obj"
        if target["type"] in ("string", "integer", "boolean"):
            return type_text(target)
        queue.append(ref)
        return short(ref)
    kind = schema.get("type")
    if kind == "array":
        return "[" + type_text(schema["items"]) + "]"
    if kind == "object":
        return "{" + type_text(schema["additionalProperties"]) + "}" if "additionalProperties" in schema else "obj"
    if kind == "string":
        return {"byte": "bytes", None: "string", "date-time": "time"}[schema.get("format")]
    if kind == "integer":
        return schema.get("format", "int64")
    if kind == "boolean":
        return "bool"
    if kind == "number":
        return "number"
    return "any"

def flags(type_name, field, schema, required):
    out = []
    go = go_field(type_name, field)
    text = type_text(schema)
    if go is None:
        out.append("!" if field in required else "")
    else:
        go_type, options, number = go
        omitempty = bool({"omitempty", "omitzero"} & options)
        if number:
            out.append("#" + number)
        time = text in ("time", "microtime") and "omitzero" not in options  # a struct: omitempty does not drop it
        if (not omitempty or time) and not go_type.startswith("*"):
            out.append("!")          # always written
        elif omitempty and not go_type.startswith("*") and text in ("string", "int32", "int64", "bool", "number", "bytes"):
            out.append("0")          # not written when zero
    if field in required:
        out.append("required")
    if schema.get("x-kubernetes-map-type") == "atomic" or schema.get("x-kubernetes-list-type") == "atomic":
        out.append("atomic")
    if schema.get("x-kubernetes-map-type") == "granular":
        out.append("granular")
    if schema.get("x-kubernetes-list-type") == "set":
        out.append("set")
    if "x-kubernetes-list-map-keys" in schema:
        out.append("keys=" + ",".join(schema["x-kubernetes-list-map-keys"]))
    if "x-kubernetes-patch-strategy" in schema:
        out.append("patch=" + schema["x-kubernetes-patch-strategy"].replace(",", "+"))
    if "x-kubernetes-patch-merge-key" in schema:
        out.append("merge-key=" + schema["x-kubernetes-patch-merge-key"])
    if "default" in schema:
        out.append("default=" + json.dumps(schema["default"]))
    return [f for f in out if f]

full = {short(name): name for name in schemas}
for root in ROOTS:
    queue.append(full[root])
lines = []
while queue:
    name = queue.pop(0)
    if name in done:
        continue
    schema = schemas[name]
    head = [f"type {short(name)}"]
    if schema.get("x-kubernetes-map-type") == "atomic":
        head.append("atomic")
    fields = []
    for field, value in sorted(schema.get("properties", {}).items()):
        fields.append("  " + " ".join([field, type_text(value), *flags(short(name), field, value, schema.get("required", []))]))
    done[name] = [" ".join(head), *fields]
version = os.path.basename(KUBERNETES).split("@")[-1]
print(f"""# Types of the built-in kinds of Kubernetes {version}. Generated by generate.py; do not edit.
# Derived from the OpenAPI documents and Go sources of Kubernetes, Copyright The Kubernetes Authors, Apache License 2.0.
#
# "type NAME [atomic]", then "  FIELD TYPE FLAG...".
# TYPE:  string bytes int32 int64 number bool quantity intstr time microtime, any (deduced), raw (atomic), obj (free map),
#        [TYPE] list, {{TYPE}} map, or the name of a type.
# FLAG:  #N or #N.M the field's number in protobuf, within an inlined struct after that struct's;
#        ! always written, also when empty; 0 not written when zero; required; atomic; granular; set; keys=A,B (list map);
#        patch=STRATEGY and merge-key=KEY (strategic merge patch); default=JSON.""")
for name in sorted(done, key=short):
    print("\n".join(done[name]))
