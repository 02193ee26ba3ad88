//go:build tools

// Package lab names the programs of the control plane, so that `go mod tidy` keeps in go.mod and go.sum what they are built from.
package lab

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
)
