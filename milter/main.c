#include <stdio.h>

int main(void)
{
    return puts("rcptgate " RCPTGATE_VERSION) < 0;
}
