package main

/*
#include <sys/prctl.h>

// The thread by which Go's runtime watches the others wakes every 70 µs while there is work, 50 of which are what the
// kernel may be late by default, and often has nothing to do: 3 to 10 % of the relay's CPU, by a profile. Let it be 1 ms
// late, and our timers with it. Threads have this from those that start them, so it is set before Go starts any.
__attribute__((constructor)) static void slacken(void) {
	prctl(PR_SET_TIMERSLACK, 1000 * 1000);
}
*/
import "C"
