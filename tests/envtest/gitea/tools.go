//go:build tools

// Package tools names the Git host that tests run against, so that its version stands in go.mod.
package tools

import _ "code.gitea.io/gitea"
