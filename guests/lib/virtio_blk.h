// A driver for a virtio block device (virtio 1.2: 5.2).
#pragma once

#include "virtio.h"

#define SECTOR_SIZE 512

// Requests (5.2.6).
#define BLK_IN 0   // read
#define BLK_OUT 1  // write
#define BLK_FLUSH 4
#define BLK_GET_ID 8
#define BLK_ID_SIZE 20

// How one ended.
#define BLK_OK 0
#define BLK_IOERR 1
#define BLK_UNSUPP 2

// Features (5.2.3).
#define FEATURE_RO (1ull << 5)
#define FEATURE_FLUSH (1ull << 9)

#define SLOTS 32  // requests that may be under way together

struct disk {
    struct virtio device;
    struct virtqueue queue;
    uint64_t capacity;  // in sectors
};
extern struct disk disk;

// Takes over the device whose registers are there. What is wrong with it, or NULL.
const char *disk_open(uintptr_t registers, unsigned irq);

// Says what a slot asks for, as often as it is submitted. `data` is physical and `size` in bytes.
void disk_prepare(unsigned slot, uint32_t type, void *data, uint32_t size);

// Makes a slot's request available; the device may not look for it before disk_notify.
void disk_submit(unsigned slot, uint64_t sector);
void disk_notify(void);

// The slot of a request that the device has done with, or -1 while there is none.
int disk_done(void);
// How that ended.
uint8_t disk_status(unsigned slot);
// Halts until there is one.
void disk_wait(void);

// One request from its start to its end. How it ended.
uint8_t disk_do(uint32_t type, uint64_t sector, void *data, uint32_t size);
