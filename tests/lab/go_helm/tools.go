//go:build tools

// Package helm names the programs that charts are rendered, tested and installed with, so that `go mod tidy` keeps in go.mod and go.sum
// what they are built from. Both are of one module, so that helm-unittest renders with the same Helm, and all that they share is compiled once.
//
// helm-unittest replaces a library of its own; `go.mod` has to repeat that.
package helm

import (
	_ "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"
	_ "helm.sh/helm/v3/cmd/helm"
)
