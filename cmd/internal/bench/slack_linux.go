package main

/*
#include <string.h>
#include <sys/prctl.h>

// Postern's relay without a log has the timer slack of Postern (cmd/postern/slack_linux.go), the load has not.
__attribute__((constructor)) static void slacken(int argc, char **argv) {
	if (argc > 1 && strcmp(argv[1], "unlogged") == 0)
		prctl(PR_SET_TIMERSLACK, 1000 * 1000);
}
*/
import "C"
