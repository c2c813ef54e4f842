// Package diagnose finds out why a server did not answer a request as it should, and says what
// to do about it. Of and OfRefusal find the Cause: in the error of an attempt, or in what a
// server says in a response with status 400. Cause.Hint says what is probably wrong, and what to
// write instead in the configuration of the reverse proxy that made the attempt. The package
// only reads what it is given: it connects to nothing and keeps nothing.
package diagnose
