// Package certs handles the certificates that servers show in TLS handshakes. It describes them,
// checks them as a TLS client does, accepts only pinned ones, and remembers those that a server
// has shown, so that a new one can be reported.
package certs
