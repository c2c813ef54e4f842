// Package certs knows the certificates that servers show in TLS handshakes: it describes them,
// checks them the way a TLS client does, accepts only pinned ones, and remembers those that a
// server has shown so far, so that somebody can be told of a new one.
package certs
