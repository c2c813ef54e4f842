//go:build unix

package h1

import (
	"net"
	"syscall"
)

// Supported tells whether idle connections can be looked at here. Without that, a connection
// would serve one request only.
const Supported = true

// eye looks at a connection without reading from it.
type eye struct {
	raw  syscall.RawConn
	look func(fd uintptr)
	sees bool
	room [1]byte
}

// newEye returns nil for a connection that is no socket of this system.
func newEye(c net.Conn) *eye {
	for {
		inner, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = inner.NetConn()
	}
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	e := &eye{raw: raw}
	e.look = func(fd uintptr) {
		for {
			_, _, err := syscall.Recvfrom(int(fd), e.room[:], syscall.MSG_PEEK)
			if err == syscall.EINTR {
				continue
			}
			e.sees = err != syscall.EAGAIN
			return
		}
	}
	return e
}

// seesAnything tells whether there is something to read, or the connection has ended. The socket
// does not block, so this does not wait.
func (e *eye) seesAnything() bool {
	e.sees = true
	_ = e.raw.Control(e.look) // which fails for a connection that is closed
	return e.sees
}
