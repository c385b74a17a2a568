"""Maildirs as Dovecot and Courier write them, made by a test."""
import os


class Maildir:
    """Maildir++ below `path`; or folders within each other, with is_fs."""

    def __init__(self, path, is_fs=False):
        self.path, self.is_fs = str(path), is_fs
        self.number = 0
        self.folder('')

    def folder(self, name):
        """'' is the INBOX; 'Lists.C' or 'Lists/C' as the layout has it. Its path."""
        at = os.path.join(self.path, name if self.is_fs or not name else '.' + name)
        for part in ('cur', 'new', 'tmp'):
            os.makedirs(os.path.join(at, part), exist_ok=True)
        return at

    def add(self, message, folder='', flags='', part='cur', time=1276528487, mtime=None, base=None):
        """The file's name without its flags."""
        self.number += 1
        base = base or f'{time + self.number}.M{self.number}P1.host,S={len(message)}'
        name = os.path.join(self.folder(folder), part, base + (f':2,{flags}' if part == 'cur' else ''))
        with open(name, 'wb') as f:
            f.write(message)
        at = mtime or time + self.number
        os.utime(name, (at, at))
        return base

    def write(self, name, text, folder=''):
        with open(os.path.join(self.folder(folder), name), 'w', encoding='utf-8') as f:
            f.write(text)

    def many(self, count, size=400):
        for n in range(count):
            self.add(mail(n, size))


def mail(n, size=0):
    """With LF at the ends of lines, as Maildirs have it."""
    text = f'Message-ID: <{n}@source.test>\nSubject: mail {n}\nFrom: a@source.test\nTo: b@source.test\n\nbody {n}\n'
    while len(text) < size:
        text += 'and one line more of what the body of a message says\n'
    return text.encode()
