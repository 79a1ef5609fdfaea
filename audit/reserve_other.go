//go:build !linux

package audit

import (
	"io/fs"
	"os"
)

func allocate(f *os.File, size int64) error { return writeNoise(f, size) }

// isWhole would have to know how this system counts blocks: the file is made anew at each start.
func isWhole(fs.FileInfo, int64) bool { return false }
