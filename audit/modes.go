package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrLoose tells that others may read or change what only the log's user may.
var ErrLoose = errors.New("open to other users")

// checkModes refuses a log that others may read or change, as it lies there. It mends nothing: whoever made it so must
// learn what may have been read. What is not there yet is made with mode 0600.
func checkModes(path string) error {
	var loose []string
	var mode fs.FileMode
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			loose, mode = append(loose, p), info.Mode().Perm()
		}
	}
	if len(loose) > 0 {
		return fmt.Errorf("%w: %s has mode %04o, and holds what people read and did: chmod 600 %s", ErrLoose, loose[0], mode,
			strings.Join(loose, " "))
	}
	return checkDirectory(filepath.Dir(path))
}

// checkDirectory refuses a directory in which others may put files in place of the log's. In a sticky one, such as /tmp,
// they may only add some. Whether they may list it does not matter: the files have modes of their own.
func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	return fmt.Errorf("%w: the directory %s has mode %04o, so they may replace the log: chmod go-w %[2]s, "+
		"or keep the log in a directory of its own in it", ErrLoose, dir, info.Mode().Perm())
}
