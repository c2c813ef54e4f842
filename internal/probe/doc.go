// Package probe looks at a server the way a reverse proxy would: it resolves the name, connects,
// makes TLS handshakes with the certificate checked and unchecked, and asks for / by HTTPS, by
// plain HTTP and by HTTP/2 cleartext. Where the environment names a proxy, it goes through that one. From what it finds it judges whether the address works as
// it is written, why it does not, and what to write in the Caddyfile instead. It prints nothing:
// whoever runs a Prober is told of each step as it ends.
package probe
