package h1

import (
	"bufio"
	"io"
	"sync"
)

// defaultBuffer is the size of a buffer, unless the settings say otherwise.
const defaultBuffer = 4 << 10

// buffers are what an exchange reads and writes through. An idle connection has none.
type buffers struct {
	reader  *bufio.Reader
	printer printer
}

// bufferPool keeps buffers for the next exchange.
type bufferPool struct {
	readSize, writeSize int
	free                sync.Pool
}

// get returns buffers on a connection.
func (p *bufferPool) get(rw io.ReadWriter) *buffers {
	b, ok := p.free.Get().(*buffers)
	if !ok {
		return &buffers{reader: bufio.NewReaderSize(rw, size(p.readSize)), printer: printer{out: bufio.NewWriterSize(rw, size(p.writeSize))}}
	}
	b.reader.Reset(rw)
	b.printer.out.Reset(rw)
	return b
}

// put gives back buffers that nobody uses any more.
func (p *bufferPool) put(b *buffers) {
	b.reader.Reset(nil)
	b.printer.out.Reset(nil)
	b.printer.proceed = nil
	p.free.Put(b)
}

func size(configured int) int {
	if configured > 0 {
		return configured
	}
	return defaultBuffer
}
