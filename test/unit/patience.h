/* How long what must happen may take, on a machine that is slow and busy; as in test/e2e/processes.py. */
#ifndef RCPTGATE_TEST_PATIENCE_H
#define RCPTGATE_TEST_PATIENCE_H

enum { PATIENCE_MS = 60000 };

#endif
