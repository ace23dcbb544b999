//! The embedded API server answers as a real one, request by request (`support/conformance.json`).

use crate::support::conformance::{Embedded, Real, Server, carry_out, cases, difference, prepare};
use crate::support::control_plane::{self, ControlPlane, Flags};

#[test]
fn the_embedded_api_server_answers_as_a_real_one() {
    // A control plane of its own: controllers would write into the objects between two requests.
    let flags = Flags { controller_manager: &["--controllers=serviceaccount-controller"], ..Flags::default() };
    let Some(plane) = ControlPlane::start_with(&flags) else { return control_plane::skip() };
    let real = Real::new(plane.url(), plane.token(), &plane.certificate_authority());
    let embedded = Embedded::new();
    let mut different = Vec::new();
    for (number, case) in cases().iter().enumerate() {
        let namespace = format!("conformance-{number}");
        prepare(&real, &namespace);
        prepare(&embedded, &namespace);
        for (i, step) in case.steps.iter().enumerate() {
            let (theirs, ours) = (carry_out(&real, step, &namespace), carry_out(&embedded, step, &namespace));
            let found = difference(step, &theirs, &ours, &namespace);
            if !found.is_empty() {
                let head = format!("{}, step {i}: {} {}", case.name, step.verb, step.path);
                different.push(format!("{head}\n    {}", found.join("\n    ")));
            }
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

#[test]
fn every_case_can_be_carried_out_without_a_control_plane() {
    let embedded = Embedded::new();
    for (number, case) in cases().iter().enumerate() {
        let namespace = format!("conformance-{number}");
        prepare(&embedded, &namespace);
        for step in &case.steps {
            let reply = carry_out(&embedded, step, &namespace);
            let waited = matches!(step.verb.as_str(), "WAIT" | "GONE");
            assert!(waited || (200..600).contains(&reply.code), "{}: {} {}", case.name, step.verb, step.path);
        }
    }
    assert_eq!(embedded.send("GET", "/api/v1/namespaces", "", Vec::new()).code, 200);
}
