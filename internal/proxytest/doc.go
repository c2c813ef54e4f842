// Package proxytest is the laboratory of the tests: real certificates, real servers that
// work or misbehave, a client that sends arbitrary bytes, and a whole Caddy whose log can be
// read.
//
// Everything that a function starts ends with the test that it was given. A server gets an
// address that no other gets in the same process, and nothing else is shared, so that tests
// may run in parallel; only of NewCaddy can there be one at a time.
package proxytest
